//! A running weir asked over its admin address: one GET, the answer as a whole or line by line.
//!
//! Does not: know what the answers mean.

use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer that comes at once takes no longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const LARGEST: u64 = 256 << 20;

/// An answer whose head was read.
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: BufReader<TcpStream>,
}

/// Sends the request; HTTP/1.0, so that the end of the answer is the end of the connection.
pub(crate) fn get(admin: SocketAddr, path: &str) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(admin)
        .with_context(|| format!("no weir answers on {admin}: is it running? (--admin names another address)"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: {admin}\r\n\r\n").context("the running weir went away")?;
    let mut body = BufReader::new(stream);
    let mut line = String::new();
    body.read_line(&mut line).context("the running weir did not answer")?;
    let Some(status) = line.split(' ').nth(1).and_then(|word| word.parse().ok()) else {
        bail!("what answers on {admin} is no weir")
    };
    while !line.trim_end().is_empty() {
        line.clear();
        if body.read_line(&mut line)? == 0 {
            break;
        }
    }
    Ok(Answer { status, body })
}

impl Answer {
    /// All of it, as JSON.
    pub(crate) fn json(self) -> anyhow::Result<serde_json::Value> {
        let mut text = String::new();
        self.body.take(LARGEST).read_to_string(&mut text).context("the answer broke off")?;
        serde_json::from_str(&text).context("what answers there is no weir of this version")
    }

    /// Its lines as they come, however long that takes.
    pub(crate) fn lines(self) -> anyhow::Result<impl Iterator<Item = std::io::Result<String>>> {
        self.body.get_ref().set_read_timeout(None)?;
        Ok(self.body.lines())
    }
}

/// A value as a query carries it.
pub(crate) fn encoded(value: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(one).collect()
}
