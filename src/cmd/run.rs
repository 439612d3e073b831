//! `weir run`: reads documents, starts the data plane, follows changes, drains on SIGTERM.

use crate::args::Run;
use crate::cmd::check::print;
use crate::cores;
use anyhow::{Context, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::process::ExitCode;
use std::sync::Arc;
use weir_config::{Bundle, compile};
use weir_control::follow::Follower;
use weir_control::store::{Store, Version, errors, hash};
use weir_control::{DataPlane, admin, source};
use weir_policy::plan::Plan;
use weir_proxy::{Handle, Options};

/// The data plane, as control sees it.
pub(crate) struct Plane(pub(crate) Handle);

impl DataPlane for Plane {
    fn commit(&self, plan: Plan) -> Result<(), String> {
        self.0.commit(plan).map_err(|why| why.to_string())
    }

    fn metrics(&self) -> String {
        self.0.metrics()
    }

    fn ready(&self) -> bool {
        self.0.ready()
    }
}

pub(crate) fn run(args: Run) -> anyhow::Result<ExitCode> {
    // Before anything can fail or listen: a signal must find its handler.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("cannot handle signals")?;
    let (texts, unreadable) = source::read(&args.files);
    let hash = hash(&texts);
    let bundle = Bundle { texts, options: args.documents.options() };
    let (plan, mut problems) = compile(&bundle);
    problems.extend(unreadable);
    print(&problems, &bundle.texts);
    if errors(&problems) > 0 {
        bail!("the configuration has errors: nothing was started");
    }
    let workers = args.workers.map_or_else(cores::available, usize::from);
    let options = Options {
        outbound: args.outbound.0,
        workers,
        access_log: args.access_log.map(Into::into),
        name: args.name.clone(),
        namespace: args.documents.namespace.clone(),
        seed: seed(),
    };
    let handle = weir_proxy::start(options, plan)?;
    let (outbound, gateways) = (handle.outbound(), handle.gateways());
    let plane = Arc::new(Plane(handle));
    let store = Arc::new(Store::default());
    let version = store.accept(hash, problems);
    let follower = Arc::new(Follower::new(args.files, bundle.options, Arc::clone(&plane) as Arc<dyn DataPlane>, store));
    if let Some(address) = args.admin.0 {
        let shared = Arc::clone(&plane) as Arc<dyn DataPlane>;
        admin::start(address, shared, Arc::clone(&follower)).map_err(anyhow::Error::msg)?;
    }
    let reload = follower.start(say).context("cannot start the thread that follows the files")?;
    for address in outbound.iter().chain(&gateways) {
        eprintln!("weir: serving on {address}");
    }
    eprintln!("weir: ready, version {version}, {workers} workers");
    for signal in signals.forever() {
        if signal == SIGHUP {
            // The follower lives as long as the process.
            let _ = reload.send(());
            continue;
        }
        eprintln!("weir: draining; a second signal ends at once");
        end_at_second_signal(signals);
        plane.0.drain(args.drain_timeout);
        eprintln!("weir: done");
        break;
    }
    Ok(ExitCode::SUCCESS)
}

fn say(outcome: &Result<Version, String>) {
    match outcome {
        Ok(version) => eprintln!("weir: version {version} is in force"),
        Err(why) => eprintln!("weir: the new configuration was refused, the last good one stays: {why}"),
    }
}

fn end_at_second_signal(mut signals: Signals) {
    std::thread::spawn(move || {
        if signals.forever().any(|signal| signal != SIGHUP) {
            std::process::exit(130);
        }
    });
}

/// Of the generators of this process: from the standard library's per-process random keys.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
