//! Counts the GOAWAYs that a server sends, which the h2 crate does not tell.
//!
//! Does not: change a byte.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

const HEAD: usize = 9;
const GOAWAY: u8 = 7;

/// A socket that is looked at while it is read.
#[derive(Debug)]
pub(crate) struct Glance {
    socket: TcpStream,
    /// The frame header that is coming (RFC 9113 section 4.1).
    head: [u8; HEAD],
    have: usize,
    /// Of the payload that is passing.
    left: usize,
    goaways: Arc<AtomicU32>,
}

impl Glance {
    pub(crate) fn at(socket: TcpStream, goaways: &Arc<AtomicU32>) -> Self {
        Self { socket, head: [0; HEAD], have: 0, left: 0, goaways: Arc::clone(goaways) }
    }

    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.left > 0 {
                self.left -= 1;
                continue;
            }
            self.head[self.have] = *byte;
            self.have += 1;
            if self.have == HEAD {
                let [a, b, c, kind, ..] = self.head;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                self.have = 0;
                if kind == GOAWAY {
                    self.goaways.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

impl AsyncRead for Glance {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        self.pass(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Glance {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
