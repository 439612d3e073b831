//! The binary `weir`: parses the command line, runs a command, turns the result into an exit code.

mod args;
mod cmd;
mod handover;
mod lifecycle;
mod local;
mod machine;
mod supervisor;

use args::{Args, Command};
use clap::Parser;
use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// 0: fine. 1: problems were found. 2: could not run. 4: requests were cut at `--drain-timeout`. 128 + n: ended by
/// signal n.
fn main() -> ExitCode {
    let outcome = match Args::parse().command {
        Command::Run(run) => cmd::run::run(run),
        Command::Check(check) => cmd::check::check(&check),
        Command::Schema(schema) => cmd::schema::schema(&schema),
        Command::Upgrade(upgrade) => cmd::upgrade::upgrade(&upgrade),
        Command::Explain(explain) => cmd::explain::explain(&explain),
        Command::Tap(tap) => cmd::tap::tap(&tap),
        Command::Health(health) => cmd::health::health(&health),
        Command::ProxyConfig(what) => cmd::proxy_config::proxy_config(&what),
        Command::Ca(ca) => cmd::ca::ca(&ca),
        Command::Demo(demo) => cmd::demo::demo(&demo),
    };
    match outcome {
        Ok(code) => code,
        Err(why) => {
            eprintln!("weir: {why:#}");
            ExitCode::from(2)
        }
    }
}
