//! One TLS connection over its socket, read and written as plaintext.
//!
//! ```text
//!   poll_write ─► records ─► socket      says "written" when the records are out: nothing waits here for a flush
//!   poll_read  ◄─ records ◄─ socket      an end without close_notify is an error: it may have been cut
//! ```
//! Does not: choose keys (`greet` and `reach` do).

use rustls::Connection;
use std::io::{self, BufRead, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Plaintext that is taken at once from an answer.
const SERVER_TAKES: usize = 32 * 1024;
/// And of a request: one record, so that a peer that has not all of it has nothing of it.
const CLIENT_TAKES: usize = 16 * 1024;

/// See the module.
pub(crate) struct Session {
    pub(crate) socket: TcpStream,
    pub(crate) tls: Connection,
    /// Plaintext that was taken and whose records are not all out.
    owed: usize,
}

/// The socket as rustls writes to it.
pub(super) struct Out<'s>(pub(super) &'s TcpStream);
/// And reads from it.
pub(super) struct In<'s>(pub(super) &'s TcpStream);

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for In<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(bytes)
    }
}

impl Session {
    pub(super) const fn new(socket: TcpStream, tls: Connection) -> Self {
        Self { socket, tls, owed: 0 }
    }

    /// Writes the records that wait.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            ready!(self.socket.poll_write_ready(cx))?;
            match self.tls.write_tls(&mut Out(&self.socket)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Err(why) => return Poll::Ready(Err(why)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once; how many bytes came.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            let count = match self.tls.read_tls(&mut In(&self.socket)) {
                Ok(count) => count,
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => continue,
                Err(why) => return Poll::Ready(Err(why)),
            };
            if let Err(why) = self.tls.process_new_packets() {
                // The peer is told, if it listens.
                let _ = self.tls.write_tls(&mut Out(&self.socket));
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
            }
            return Poll::Ready(Ok(count));
        }
    }

    /// Until both sides have said what a handshake says.
    pub(super) fn poll_shaken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(cx))?;
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Answers of the protocol itself (new keys, say) go out as far as they can.
    fn answer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.poll_send(cx) {
            Poll::Ready(Err(why)) => Err(why),
            _ => Ok(()),
        }
    }

    pub(crate) fn poll_read(&mut self, into: &mut ReadBuf<'_>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.tls.reader().read(into.initialize_unfilled()) {
                Ok(count) => {
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Err(why) => return Poll::Ready(Err(why)),
            }
            self.answer(cx)?;
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Is there plaintext, or the end of it?
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.tls.reader().fill_buf() {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                Err(why) => return Poll::Ready(Err(why)),
            }
            self.answer(cx)?;
            ready!(self.poll_receive(cx))?;
        }
    }

    /// What was taken once is to be offered again until it is written.
    pub(crate) fn poll_write(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.owed == 0 {
            let takes = if matches!(self.tls, Connection::Server(_)) { SERVER_TAKES } else { CLIENT_TAKES };
            self.owed = self.tls.writer().write(&bytes[..bytes.len().min(takes)])?;
        }
        ready!(self.poll_send(cx))?;
        Poll::Ready(Ok(std::mem::take(&mut self.owed).min(bytes.len())))
    }

    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tls.send_close_notify();
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl Drop for Session {
    /// A body that ends with its connection is whole only if the end is said.
    fn drop(&mut self) {
        if !self.tls.is_handshaking() && self.owed == 0 {
            self.tls.send_close_notify();
            let _ = self.tls.write_tls(&mut Out(&self.socket));
        }
    }
}
