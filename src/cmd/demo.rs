//! `weir demo`: a mesh in one process, with failures, and an account of what the policies did.
//!
//! ```text
//!   callers ─► weir ─┬─► raw.demo   no policies      ┐ the same three sample servers:
//!                    └─► shop.demo  retries, timeout ┘ one healthy, one failing, one slow
//! ```
//! The numbers come from the callers and from the proxy's own /metrics. Traffic stays on loopback.

mod account;
mod callers;
mod servers;

use crate::args::{Demo, DemoName};
use crate::machine;
use account::Account;
use anyhow::{Context, anyhow};
use std::process::ExitCode;
use std::time::Duration;
use weir_config::{Bundle, Options, Text, compile};
use weir_control::store::errors;

const MESH: &str = include_str!("demo/quickstart.yaml");
/// Requests of each part.
const REQUESTS: u32 = 400;
/// Callers at the same time.
const CALLERS: u32 = 8;

pub(crate) fn demo(args: &Demo) -> anyhow::Result<ExitCode> {
    let DemoName::Quickstart = args.name;
    let ports = servers::start(args.seed).context("cannot start the sample services")?;
    let mut text = MESH.to_owned();
    for (name, port) in ["$HEALTHY", "$FAILING", "$SLOW"].iter().zip(ports) {
        text = text.replace(name, &port.to_string());
    }
    let texts = vec![Text { name: "quickstart.yaml".into(), text }];
    let (plan, problems) = compile(&Bundle { texts, options: Options::default() });
    if errors(&problems) > 0 {
        return Err(anyhow!("the demo's own documents have errors: {problems:?}"));
    }
    let options = weir_proxy::Options {
        outbound: Some(([127, 0, 0, 1], 0).into()),
        workers: machine::cores(),
        access_log: Some(weir_policy::plan::AccessLog::Off),
        name: "demo".to_owned(),
        namespace: "default".to_owned(),
        seed: args.seed,
        name_servers: Vec::new(),
        sample: 10_000,
        ceilings: weir_proxy::Ceilings::default(),
    };
    let handle = weir_proxy::start(options, plan, &mut weir_proxy::Handed::default())?;
    let address = handle.outbound().context("the demo has an outbound listener")?;
    println!("weir is listening on {address}; behind it one service on three servers:");
    println!("  one is healthy, one fails three of ten requests, one is slow for one of five\n");
    let without = callers::run(address, "raw.demo", REQUESTS, CALLERS);
    println!("{}", account::line("without policies", &without));
    let with = callers::run(address, "shop.demo", REQUESTS, CALLERS);
    println!("{}\n", account::line("with retries and timeouts", &with));
    println!("{}", Account { without: &without, with: &with, metrics: &handle.metrics() });
    if args.once {
        handle.drain(Duration::from_secs(2));
        return Ok(ExitCode::SUCCESS);
    }
    println!("Try it yourself until you press Ctrl-C:");
    println!("  curl -i -H 'Host: shop.demo' http://{address}/\n  curl -i -H 'Host: raw.demo'  http://{address}/");
    let mut signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM])?;
    signals.forever().next();
    handle.drain(Duration::from_secs(2));
    Ok(ExitCode::SUCCESS)
}
