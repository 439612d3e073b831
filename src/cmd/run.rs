//! `weir run`: reads documents, starts the data plane, follows changes; `lifecycle` has what comes after.
//!
//! ```text
//!   given documents ─► errors? ──no──────────────────────────────► serve them
//!                        │ yes
//!                        └─► --state has the last good ones? ─yes► serve those, status degraded
//!                                      │ no
//!                                      └──────────────────────────► exit 2
//! ```

use crate::args::Run;
use crate::cmd::check::print;
use crate::handover::{Ourselves, Predecessor};
use crate::lifecycle::{Event, Lifecycle};
use crate::{machine, supervisor};
use anyhow::{Context, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use weir_config::{Bundle, Code, Compiler, Problem, Severity, Text, compile};
use weir_control::follow::Follower;
use weir_control::source::{Change, Reader, Sources};
use weir_control::state::State;
use weir_control::store::{Store, Version, errors, hash};
use weir_control::{DataPlane, EndpointState, Tap, admin};
use weir_policy::decision::{Decision, Filter};
use weir_policy::plan::Plan;
use weir_proxy::{Handed, Handle, Options, Trouble};

/// The data plane, as control sees it.
pub(crate) struct Plane(pub(crate) Handle);

impl DataPlane for Plane {
    fn commit(&self, plan: Plan) -> Result<(), String> {
        self.0.commit(plan).map_err(|why| why.to_string())
    }

    fn renew(&self) -> Vec<Problem> {
        let problem = |Trouble { place, words, hint }| Problem::new(Code::Keys, place, words).hint(hint);
        self.0.renew().into_iter().map(problem).collect()
    }

    fn key_folders(&self) -> BTreeSet<PathBuf> {
        self.0.key_folders()
    }

    fn metrics(&self) -> String {
        self.0.metrics()
    }

    fn ready(&self) -> bool {
        self.0.ready()
    }

    fn inspect(&self, see: &mut dyn FnMut(&Plan)) {
        self.0.inspect(see);
    }

    fn endpoints(&self, cluster: &str) -> Vec<EndpointState> {
        let states = self.0.endpoints(cluster).into_iter();
        let same = |weir_proxy::EndpointState { address, active, ejected }| EndpointState { address, active, ejected };
        states.map(same).collect()
    }

    fn decisions(&self) -> Vec<Arc<Decision>> {
        self.0.decisions()
    }

    fn tap(&self, filter: Filter) -> Option<Tap> {
        self.0.tap(filter).map(|weir_proxy::Tap { records, dropped }| Tap { records, dropped })
    }
}

/// What is served from the start.
struct Beginning {
    plan: Plan,
    texts: Vec<Text>,
    problems: Vec<Problem>,
    /// Remember what was given.
    reader: Reader,
    compiler: Compiler,
    /// Why these are the last good documents and not the given ones.
    instead: Option<String>,
}

pub(crate) fn run(args: Run) -> anyhow::Result<ExitCode> {
    // Before anything can fail or listen: a signal must find its handler.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR2]).context("cannot handle signals")?;
    let ourselves = Ourselves::find()?;
    let mut predecessor = Predecessor::find()?;
    let sockets = match &mut predecessor {
        Some(earlier) => earlier.take().context("cannot take the sockets over")?,
        None => supervisor::sockets(),
    };
    let mut handed = Handed::new(sockets);
    if args.admin.0.is_some_and(|address| !address.ip().is_loopback()) {
        bail!("the admin address is not loopback: use 127.0.0.1 (other addresses will need a token)");
    }
    let state = args.state.as_deref().map(State::open).transpose().context("cannot use the folder of --state")?;
    let begun = begin(&args, state.as_ref())?;
    let workers = args.workers.map_or_else(machine::cores, usize::from);
    let options = Options {
        outbound: args.outbound.0,
        workers,
        access_log: args.access_log.map(Into::into),
        name: args.name.clone(),
        namespace: args.documents.namespace.clone(),
        seed: seed(),
        name_servers: args.name_servers.clone(),
        secrets: args.secrets.clone(),
        sample: args.record_sample.parts(),
        ceilings: machine::ceilings(args.memory_limit),
    };
    let version = Version { number: 1, hash: hash(&begun.texts) };
    let plan = Plan { version: version.to_string().into(), ..begun.plan };
    let handle = weir_proxy::start(options, plan, &mut handed)?;
    let addresses: Vec<_> = handle.outbound().into_iter().chain(handle.gateways()).collect();
    let plane = Arc::new(Plane(handle));
    let store = Arc::new(Store::default());
    let version = store.accept(version.hash, begun.problems.clone());
    let shared = Arc::clone(&plane) as Arc<dyn DataPlane>;
    let follower = Follower::new(args.files.clone(), args.documents.options(), shared, store);
    let follower = Arc::new(follower.keeping(state).remembering(begun.reader, begun.compiler));
    match begun.instead {
        Some(why) => follower.store.refuse(begun.problems, why),
        None => follower.keep(&begun.texts),
    }
    // What was wrong with keys at the start is said here.
    follower.renew();
    let (events, received) = channel();
    forward(signals, events.clone()).context("cannot start the thread of signals")?;
    let admin = start_admin(&args, &plane, &follower, &mut handed, events.clone())?;
    let _watching = follower.start(say).context("cannot start the thread that follows the files")?;
    supervisor::watch(Arc::downgrade(&plane)).context("cannot start the watchdog's thread")?;
    for address in addresses {
        eprintln!("weir: serving on {address}");
    }
    for address in handed.addresses() {
        eprintln!("weir: a socket on {address} was handed over that nothing asks for: it is closed");
    }
    drop(handed);
    eprintln!("weir: ready, version {version}, {workers} workers");
    if let Some(earlier) = predecessor {
        // An earlier process that is gone needs no word.
        let _ = earlier.dismiss();
    }
    supervisor::ready(&version.to_string());
    Ok(Lifecycle { args, plane, follower, admin, ourselves, events, upgrade: None }.run(received))
}

fn begin(args: &Run, state: Option<&State>) -> anyhow::Result<Beginning> {
    let (mut reader, mut compiler) = (Reader::default(), Compiler::default());
    let Sources { texts, problems: unreadable, .. } = reader.read(&args.files, &Change::Anything);
    let bundle = Bundle { texts, options: args.documents.options() };
    let (plan, mut problems) = compiler.compile(&bundle);
    reader.keep(bundle.texts.clone());
    problems.extend(unreadable);
    print(&problems, &bundle.texts);
    let count = errors(&problems);
    if count == 0 {
        return Ok(Beginning { plan, texts: bundle.texts, problems, reader, compiler, instead: None });
    }
    let Some(texts) = state.and_then(State::load) else {
        bail!("the configuration has errors: nothing was started");
    };
    let bundle = Bundle { texts, options: bundle.options };
    let (plan, kept) = compile(&bundle);
    if errors(&kept) > 0 {
        print(&kept, &bundle.texts);
        bail!("the configuration has errors, and so have the last good documents of --state: nothing was started");
    }
    let first = problems.iter().find(|problem| problem.severity == Severity::Error);
    let first = first.map(|problem| format!("{}: {}", problem.place, problem.words)).unwrap_or_default();
    let why = format!("at the start: {count} errors; the first: {first}");
    eprintln!("weir: DEGRADED: the given documents cannot be served; serving the last good ones of --state");
    Ok(Beginning { plan, texts: bundle.texts, problems, reader, compiler, instead: Some(why) })
}

fn start_admin(
    args: &Run,
    plane: &Arc<Plane>,
    follower: &Arc<Follower>,
    handed: &mut Handed,
    events: Sender<Event>,
) -> anyhow::Result<Option<admin::Server>> {
    let Some(address) = args.admin.0 else { return Ok(None) };
    let listener = match handed.take(address).pop() {
        Some(socket) => socket,
        None => admin::bind(address).map_err(anyhow::Error::msg)?,
    };
    if let Ok(real) = listener.local_addr() {
        plane.0.own(real);
    }
    let upgrade = Arc::new(move || {
        let (answer, answered) = channel();
        events.send(Event::Upgrade(Some(answer))).map_err(|_| "this process is ending".to_owned())?;
        answered.recv().unwrap_or_else(|_| Err("this process is ending".to_owned()))
    });
    let shared = Arc::clone(plane) as Arc<dyn DataPlane>;
    let admin = admin::Admin { plane: shared, follower: Arc::clone(follower), upgrade };
    Ok(Some(admin::start(listener, admin).map_err(anyhow::Error::msg)?))
}

fn forward(mut signals: Signals, events: Sender<Event>) -> std::io::Result<()> {
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            let event = if signal == SIGUSR2 { Event::Upgrade(None) } else { Event::Signal(signal) };
            if events.send(event).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

pub(crate) fn say(outcome: &Result<Version, String>) {
    match outcome {
        Ok(version) => eprintln!("weir: version {version} is in force"),
        Err(why) => eprintln!("weir: the new configuration was refused, the last good one stays: {why}"),
    }
}

/// Of the generators of this process: from the standard library's per-process random keys.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
