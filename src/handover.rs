//! Listening sockets on their way from one weir to the next, over the new one's standard input.
//!
//! ```text
//!   old ── starts the same command, WEIR_HANDOVER set, a socket as its stdin ──► new
//!       ── count, then the sockets (SCM_RIGHTS), 64 at a time ─────────────────►  takes them, starts to serve
//!       ◄────────────────────────────────────────────────────────── `+` ──────  accepts from all of them
//!   both accept from the same sockets for a moment; then the old one drains: no connection was ever refused
//! ```
//! The new one ends, is silent for too long, or closes the socket: the old one goes on as if nothing had been asked.
//! Does not: decide when (`cmd/run` does).

use anyhow::{Context, anyhow, bail};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// Set for a process that gets its sockets over its standard input.
const VARIABLE: &str = "WEIR_HANDOVER";
/// Sockets per message; the kernel takes at most 253.
const BATCH: usize = 64;
/// More sockets than this are nobody's honest hand-over.
const MOST: u32 = 65_536;
/// How long a new process may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// The command that started this process, to be started again.
pub(crate) struct Ourselves {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Ourselves {
    /// Looked up at the start: later, the file may have been replaced, which is what an upgrade is about.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the file of this program")?;
        Ok(Self { program, arguments: std::env::args_os().skip(1).collect() })
    }

    /// Starts the program as it is on disk now.
    pub(crate) fn start(&self) -> anyhow::Result<Successor> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a pair of sockets")?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env(VARIABLE, "1")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .env_remove("LISTEN_PID")
            .env_remove("WATCHDOG_PID")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        Ok(Successor { child, channel: ours })
    }
}

/// A process that is to go on in our place.
pub(crate) struct Successor {
    pub(crate) child: Child,
    channel: UnixStream,
}

impl Successor {
    /// Our end of the channel: shutting it down ends the attempt.
    pub(crate) fn channel(&self) -> std::io::Result<UnixStream> {
        self.channel.try_clone()
    }

    /// Hands the sockets over and waits until it serves.
    pub(crate) fn install(&mut self, sockets: &[TcpListener]) -> anyhow::Result<()> {
        let served = self.offer(sockets);
        if let Err(why) = &served {
            // It may have ended by itself; that says more than a closed socket.
            let ended = self.ended();
            let _ = self.child.kill();
            let _ = self.child.wait();
            return Err(match ended {
                Some(status) => anyhow!("the new process ended ({status}); its words are on stderr"),
                None => anyhow!("the new process did not get to serving: {why:#}"),
            });
        }
        served
    }

    /// How it ended, when it does so within a moment.
    fn ended(&mut self) -> Option<ExitStatus> {
        (0..100).find_map(|_| {
            let status = self.child.try_wait().ok().flatten();
            if status.is_none() {
                std::thread::park_timeout(Duration::from_millis(10));
            }
            status
        })
    }

    fn offer(&mut self, sockets: &[TcpListener]) -> anyhow::Result<()> {
        self.channel.set_read_timeout(Some(PATIENCE))?;
        self.channel.set_write_timeout(Some(PATIENCE))?;
        let count = u32::try_from(sockets.len()).context("too many sockets")?;
        self.channel.write_all(&count.to_be_bytes())?;
        for batch in sockets.chunks(BATCH) {
            let descriptors: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
            let mut message = SendAncillaryBuffer::new(&mut space);
            if !message.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                bail!("a message has no room for {} sockets", batch.len());
            }
            sendmsg(&self.channel, &[IoSlice::new(b"s")], &mut message, SendFlags::NOSIGNAL)?;
        }
        let mut word = [0];
        self.channel.read_exact(&mut word).context("no word that it serves")?;
        if word == *b"+" { Ok(()) } else { bail!("it says what we do not know") }
    }
}

/// The earlier process, when there is one.
pub(crate) struct Predecessor(UnixStream);

impl Predecessor {
    /// Whether this process was started to go on in another's place.
    pub(crate) fn find() -> anyhow::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let channel = std::io::stdin().as_fd().try_clone_to_owned().context("cannot use the standard input")?;
        Ok(Some(Self(UnixStream::from(channel))))
    }

    /// Takes the sockets.
    pub(crate) fn take(&mut self) -> anyhow::Result<Vec<TcpListener>> {
        self.0.set_read_timeout(Some(PATIENCE)).context("the standard input is no socket of a weir")?;
        let mut count = [0; 4];
        self.0.read_exact(&mut count).context("the earlier process says nothing")?;
        let count = u32::from_be_bytes(count);
        if count > MOST {
            bail!("the earlier process offers {count} sockets");
        }
        let mut sockets = Vec::new();
        while sockets.len() < count as usize {
            let before = sockets.len();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
            let mut message = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut byte)], &mut message, RecvFlags::CMSG_CLOEXEC)?;
            for part in message.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                    sockets.extend(descriptors.map(TcpListener::from));
                }
            }
            if sockets.len() == before {
                bail!("the earlier process ended after {before} of {count} sockets");
            }
        }
        Ok(sockets)
    }

    /// Tells the earlier process that we serve.
    pub(crate) fn dismiss(mut self) -> anyhow::Result<()> {
        self.0.write_all(b"+").context("the earlier process is gone already")
    }
}
