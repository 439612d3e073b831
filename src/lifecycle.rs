//! A running weir's later life: reload, upgrade, drain, end.
//!
//! ```text
//!   SIGHUP ─────────────────► reload
//!   SIGUSR2, weir upgrade ──► start the successor ──serves──► drain ─► exit 0
//!                                  └─ fails: go on as before
//!   SIGTERM ─► not ready, `connection: close` ─ --drain-delay ─┐
//!   SIGINT ────────────────────────────────────────────────────┴► stop accepting ─► last request ─► exit 0
//!                                                                  └─ --drain-timeout: cut the rest ─► exit 4
//!   a second SIGTERM or SIGINT: exit 128 + its number, now
//! ```
//! Does not: start anything but the successor.

use crate::args::Run;
use crate::cmd::run::{Plane, say};
use crate::handover::Ourselves;
use crate::supervisor;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;
use weir_control::admin;
use weir_control::follow::Follower;

/// `--drain-timeout` passed and requests were cut.
const CUT: u8 = 4;

/// What became of an upgrade: the new process, or why there is none.
pub(crate) type Upgraded = Result<u32, String>;

/// What happens to a running weir.
pub(crate) enum Event {
    Signal(i32),
    /// An upgrade is asked for; who asks may want to hear what became of it.
    Upgrade(Option<Sender<Upgraded>>),
    Upgraded(Upgraded),
}

/// An upgrade under way.
pub(crate) struct Upgrade {
    asked: Vec<Sender<Upgraded>>,
    /// To the successor; closing it ends the attempt.
    channel: Option<UnixStream>,
}

/// See the module.
pub(crate) struct Lifecycle {
    pub(crate) args: Run,
    pub(crate) plane: Arc<Plane>,
    pub(crate) follower: Arc<Follower>,
    pub(crate) admin: Option<admin::Server>,
    pub(crate) ourselves: Ourselves,
    pub(crate) events: Sender<Event>,
    pub(crate) upgrade: Option<Upgrade>,
}

impl Lifecycle {
    /// Until the end.
    pub(crate) fn run(mut self, events: Receiver<Event>) -> ExitCode {
        while let Ok(event) = events.recv() {
            match event {
                Event::Signal(SIGHUP) => self.reload(),
                Event::Signal(signal) => return self.stop(signal, events),
                Event::Upgrade(asked) => self.begin_upgrade(asked),
                Event::Upgraded(outcome) => {
                    let asked = self.upgrade.take().map(|upgrade| upgrade.asked).unwrap_or_default();
                    for asker in asked {
                        // It may have gone away.
                        let _ = asker.send(outcome.clone());
                    }
                    match outcome {
                        Ok(successor) => return self.hand_over(successor, events),
                        Err(why) => eprintln!("weir: no upgrade, this process goes on: {why}"),
                    }
                }
            }
        }
        ExitCode::SUCCESS
    }

    fn reload(&self) {
        supervisor::reloading();
        say(&self.follower.reload());
        supervisor::ready(&self.follower.store.status().version.to_string());
    }

    fn begin_upgrade(&mut self, asked: Option<Sender<Upgraded>>) {
        if let Some(upgrade) = &mut self.upgrade {
            upgrade.asked.extend(asked);
            return;
        }
        let mut upgrade = Upgrade { asked: asked.into_iter().collect(), channel: None };
        let outcome = self.start_successor(&mut upgrade);
        self.upgrade = Some(upgrade);
        if let Err(why) = outcome {
            // We hold the receiver, so it is there.
            let _ = self.events.send(Event::Upgraded(Err(why)));
        }
    }

    fn start_successor(&self, upgrade: &mut Upgrade) -> Result<(), String> {
        if std::process::id() == 1 {
            return Err("this is process 1 of its container, which would end with it: start a new container".to_owned());
        }
        if self.args.files.iter().any(|path| path.as_os_str() == "-") {
            return Err("its documents came on standard input, which a new process cannot read again".to_owned());
        }
        let mut sockets = self.plane.0.listeners().map_err(|why| why.to_string())?;
        if let Some(admin) = &self.admin {
            sockets.push(admin.socket().map_err(|why| why.to_string())?);
        }
        let mut successor = self.ourselves.start().map_err(|why| format!("{why:#}"))?;
        upgrade.channel = successor.channel().ok();
        let events = self.events.clone();
        let waiting = std::thread::Builder::new().name("upgrade".into()).spawn(move || {
            let installed = successor.install(&sockets);
            let outcome = installed.map(|()| successor.child.id()).map_err(|why| format!("{why:#}"));
            // The process may be ending; the successor has then been told by the closed channel.
            let _ = events.send(Event::Upgraded(outcome));
        });
        waiting.map(drop).map_err(|why| why.to_string())
    }

    /// The successor serves: what we still carry is finished.
    fn hand_over(self, successor: u32, events: Receiver<Event>) -> ExitCode {
        eprintln!("weir: process {successor} serves now; draining");
        supervisor::tell(&[NotifyState::MainPid(successor)]);
        if let Some(admin) = &self.admin {
            admin.stop();
        }
        // A stop of the whole service reaches us too: it is the first signal of this drain.
        end_at_signal(events, 2);
        let code = self.finish(Duration::ZERO);
        if let Some(admin) = &self.admin {
            // Who asked for the upgrade gets the answer.
            admin.finish(Duration::from_secs(5));
        }
        code
    }

    fn stop(mut self, signal: i32, events: Receiver<Event>) -> ExitCode {
        eprintln!("weir: draining; a second signal ends at once");
        supervisor::tell(&[NotifyState::Stopping]);
        if let Some(channel) = self.upgrade.take().and_then(|upgrade| upgrade.channel) {
            // A successor that does not serve yet ends too.
            let _ = channel.shutdown(Shutdown::Both);
        }
        end_at_signal(events, 1);
        self.finish(if signal == SIGINT { Duration::ZERO } else { self.args.drain_delay })
    }

    fn finish(&self, delay: Duration) -> ExitCode {
        let handle = &self.plane.0;
        handle.leave();
        if !delay.is_zero() {
            handle.wait(delay);
        }
        match handle.drain(self.args.drain_timeout) {
            0 => {
                eprintln!("weir: done");
                ExitCode::SUCCESS
            }
            cut => {
                eprintln!("weir: {cut} connections were cut at --drain-timeout");
                ExitCode::from(CUT)
            }
        }
    }
}

/// Ends the process at the `last` further signal.
fn end_at_signal(events: Receiver<Event>, last: u32) {
    std::thread::spawn(move || {
        let mut seen = 0;
        for event in events {
            match event {
                Event::Signal(SIGHUP) | Event::Upgraded(_) => {}
                Event::Signal(signal) => {
                    seen += 1;
                    if seen >= last {
                        std::process::exit(128 + signal);
                    }
                }
                Event::Upgrade(asked) => {
                    if let Some(asked) = asked {
                        let _ = asked.send(Err("this process is draining".to_owned()));
                    }
                }
            }
        }
    });
}
