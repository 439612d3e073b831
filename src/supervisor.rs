//! systemd's two small protocols: sockets that it opened for us, and word of how we are.
//!
//! Without systemd's variables none of it does anything. Does not: depend on a running systemd.

use listenfd::ListenFd;
use sd_notify::NotifyState;
use std::net::TcpListener;
use std::sync::Weak;
use weir_proxy::Handle;

use super::cmd::run::Plane;

/// Sockets of a `.socket` unit (`LISTEN_FDS`). Those that are no TCP listeners are left alone.
pub(crate) fn sockets() -> Vec<TcpListener> {
    let mut given = ListenFd::from_env();
    let taken: Vec<TcpListener> =
        (0..given.len()).filter_map(|index| given.take_tcp_listener(index).ok().flatten()).collect();
    // As given they are open across exec; copies are not, and a process that we start must not hold them by accident.
    taken.iter().filter_map(|socket| socket.try_clone().ok()).collect()
}

/// Tells the supervisor (`NOTIFY_SOCKET`).
pub(crate) fn tell(states: &[NotifyState<'_>]) {
    // Nobody listens, most often; and who does, restarts us by its own timeouts.
    let _ = sd_notify::notify(states);
}

/// Serving, under this version.
pub(crate) fn ready(version: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("serving version {version}"))]);
}

/// `RELOADING=1`, with the moment that systemd wants beside it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(moment) => tell(&[NotifyState::Reloading, moment]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Pets the watchdog twice as often as it asks (`WATCHDOG_USEC`), as long as every event loop turns.
pub(crate) fn watch(plane: Weak<Plane>) -> std::io::Result<()> {
    let Some(limit) = sd_notify::watchdog_enabled() else { return Ok(()) };
    std::thread::Builder::new().name("watchdog".into()).spawn(move || {
        while let Some(plane) = plane.upgrade() {
            let handle: &Handle = &plane.0;
            if handle.alive(limit / 4) {
                tell(&[NotifyState::Watchdog]);
            }
            drop(plane);
            std::thread::park_timeout(limit / 2);
        }
    })?;
    Ok(())
}
