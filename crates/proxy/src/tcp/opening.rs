//! The first bytes of a connection that may be TLS: read, kept, and looked at for the name.
//!
//! Does not: end TLS.

use std::io;
use tokio::net::TcpStream;
use weir_wire::{Hello, LARGEST_HELLO, read_hello};

/// What a connection began with.
#[derive(Default)]
pub(crate) struct Opening {
    /// Every byte that was taken from the socket.
    pub(crate) first: Vec<u8>,
    pub(crate) kind: Kind,
}

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) enum Kind {
    /// Not TLS, or not looked at.
    #[default]
    Other,
    /// TLS, for this name if for any.
    Handshake(Option<Box<str>>),
}

/// Reads into `opening` until it is told what the connection is. May be dropped: what was read stays there.
pub(crate) async fn look(socket: &TcpStream, opening: &mut Opening) -> io::Result<()> {
    let mut name = String::new();
    loop {
        match read_hello(&opening.first, &mut name) {
            Hello::Named => opening.kind = Kind::Handshake(Some(name.into())),
            Hello::Nameless => opening.kind = Kind::Handshake(None),
            Hello::NotTls => {}
            Hello::Partial => {
                socket.readable().await?;
                let mut part = [0; 2048];
                match socket.try_read(&mut part[..2048.min(LARGEST_HELLO + 1 - opening.first.len())]) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(count) => opening.first.extend_from_slice(&part[..count]),
                    Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
                    Err(why) => return Err(why),
                }
                continue;
            }
        }
        return Ok(());
    }
}
