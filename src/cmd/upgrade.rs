//! `weir upgrade`: asks a running weir, over its admin address, to hand over to the program that is on disk now.
//!
//! Does not: start anything itself; the running one does, with its own arguments.

use crate::args::Upgrade;
use anyhow::Context;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

/// A new process has a minute to get to serving; then the running one answers.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn upgrade(args: &Upgrade) -> anyhow::Result<ExitCode> {
    let address = args.admin;
    let mut stream =
        TcpStream::connect(address).with_context(|| format!("no weir answers on {address}: is it running?"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request =
        format!("POST /api/v1/upgrade HTTP/1.1\r\nhost: {address}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("the running weir went away")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the running weir did not answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("what answers there is no weir")?;
    if head.starts_with("HTTP/1.1 200") {
        println!("{}", body.trim());
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("weir: {}", body.trim());
    Ok(ExitCode::from(1))
}
