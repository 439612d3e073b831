//! `ledger`: the same client and backend for people, against any proxy.
//!
//! `ledger serve [ERRORS-PER-1000]` prints its port and serves, `ledger serve framed` in HTTP/2; `ledger send ADDRESS HOST REQUESTS [CLIENTS [PER-SECOND]]`
//! prints the client's book and exits with 1 when a request was lost.

use std::process::ExitCode;
use weir_ledger::{Backend, Faults, Load, Speaks};

const USAGE: &str = "ledger serve [ERRORS-PER-1000 | framed]\nledger send ADDRESS HOST REQUESTS [CLIENTS [PER-SECOND]]";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["serve"] => serve(0),
        ["serve", "framed"] => serve_framed(),
        ["serve", errors] => errors.parse().ok().and_then(serve),
        ["send", to, host, requests] => send(to, host, requests, "16", None),
        ["send", to, host, requests, clients] => send(to, host, requests, clients, None),
        ["send", to, host, requests, clients, rate] => {
            rate.parse().ok().and_then(|rate| send(to, host, requests, clients, Some(rate)))
        }
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

fn send(to: &str, host: &str, requests: &str, clients: &str, rate: Option<u32>) -> Option<ExitCode> {
    let load = Load {
        speaks: Speaks::Http1,
        to: to.parse().ok()?,
        host: host.to_owned(),
        clients: clients.parse().ok()?,
        rate,
        kept: 100,
        requests: Some(requests.parse().ok()?),
    };
    let running = load.start();
    let book = std::sync::Arc::clone(&running.book);
    let counts = running.wait();
    println!("{counts:?}\np50 {} us, p99 {} us", book.quantile(0.5), book.quantile(0.99));
    Some(ExitCode::from(u8::from(counts.failed() > 0)))
}
