//! `ledger`: the same client and backend for people, against any proxy.
//!
//! `ledger serve [ERRORS-PER-1000]` prints its port and serves, `ledger serve framed` in HTTP/2; `ledger send [http2 | grpc] ADDRESS HOST REQUESTS [CLIENTS [PER-SECOND]]`
//! prints the client's book and exits with 1 when a request was lost.

use std::process::ExitCode;
use weir_ledger::{Backend, Faults, Load, Speaks};

const USAGE: &str =
    "ledger serve [ERRORS-PER-1000 | framed]\nledger send [http2 | grpc] ADDRESS HOST REQUESTS [CLIENTS [PER-SECOND]]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["serve"] => serve(0),
        ["serve", "framed"] => serve_framed(),
        ["serve", errors] => errors.parse().ok().and_then(serve),
        ["send", "http2", ref words @ ..] => send(Speaks::Http2, words),
        ["send", "grpc", ref words @ ..] => send(Speaks::Grpc, words),
        ["send", ref words @ ..] => send(Speaks::Http1, words),
        _ => None,
    };
    outcome.unwrap_or_else(|| {
        eprintln!("{USAGE}");
        ExitCode::from(2)
    })
}

fn serve_framed() -> Option<ExitCode> {
    let backend = Backend::start_framed().ok()?;
    println!("{}", backend.port);
    loop {
        std::thread::park();
    }
}

fn serve(errors: u64) -> Option<ExitCode> {
    let backend = Backend::start(Faults { errors, closes: 0 }).ok()?;
    println!("{}", backend.port);
    loop {
        std::thread::park();
    }
}

fn send(speaks: Speaks, words: &[&str]) -> Option<ExitCode> {
    let (to, host, requests, more) = match *words {
        [to, host, requests, ref more @ ..] if more.len() <= 2 => (to, host, requests, more),
        _ => return None,
    };
    let load = Load {
        speaks,
        to: to.parse().ok()?,
        host: host.to_owned(),
        clients: more.first().map_or(Some(16), |clients| clients.parse().ok())?,
        rate: more.get(1).map(|rate| rate.parse()).transpose().ok()?,
        kept: 100,
        requests: Some(requests.parse().ok()?),
    };
    let running = load.start();
    let book = std::sync::Arc::clone(&running.book);
    let counts = running.wait();
    println!("{counts:?}\np50 {} us, p99 {} us", book.quantile(0.5), book.quantile(0.99));
    Some(ExitCode::from(u8::from(counts.failed() > 0)))
}
