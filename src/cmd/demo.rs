//! `weir demo`: a mesh in one process, with failures, and an account of what the policies did.
//!
//! ```text
//!   callers ─► weir ─┬─► plain.demo, timeout.demo, … ─► the same three sample servers: well, failing, slow
//!                    └─► limit.demo ─► one busy server
//! ```
//! One event loop, and (but for the limit) one request after the other: the same seed meets the same failures and gives
//! the same numbers, as far as the machine is quick enough for the 100 ms that some parts allow. Every number of the
//! account is read from the proxy's own metrics. Traffic stays on loopback.

mod account;
mod callers;
mod parts;
mod servers;

use crate::args::{Demo, DemoName};
use crate::cmd::run::{Plane, say};
use account::Account;
use anyhow::{Context, anyhow};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use weir_config::{Bundle, Options, Text, compile};
use weir_control::follow::Follower;
use weir_control::store::{Store, errors, hash};
use weir_control::{DataPlane, admin};

const MESH: &str = include_str!("demo/quickstart.yaml");
/// Milliseconds for the last request to be counted.
const PATIENCE: u32 = 1000;

pub(crate) fn demo(args: &Demo) -> anyhow::Result<ExitCode> {
    let DemoName::Quickstart = args.name;
    let signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM]);
    let mut signals = signals.context("cannot handle signals")?;
    let samples = servers::start(args.seed).context("cannot start the sample services")?;
    let stage = Stage::open(&samples, args.seed)?;
    print!("{}", account::opening(stage.outbound));
    let mut seen = Vec::new();
    for part in &parts::PARTS {
        samples.begin();
        let result = callers::run(stage.outbound, part);
        println!("{}", account::line(part, &result));
        seen.push(result);
    }
    println!("\n{}", Account { seen: &seen, metrics: &stage.counted(), admin: stage.admin });
    if !args.once {
        println!("Try it yourself until you press Ctrl-C; the demo's documents are followed, so change them:");
        println!("  curl -i -H 'Host: all.demo' http://{}/", stage.outbound);
        println!("  curl -s http://{}/metrics | grep retry.demo", stage.admin);
        println!("  {}", stage.documents.file().display());
        signals.forever().next();
    }
    stage.plane.0.drain(Duration::from_secs(2));
    Ok(ExitCode::SUCCESS)
}

/// The mesh of the demo, running.
struct Stage {
    plane: Arc<Plane>,
    outbound: SocketAddr,
    admin: SocketAddr,
    documents: Documents,
    _admin: admin::Server,
    _following: std::sync::mpsc::Sender<weir_control::source::Change>,
}

impl Stage {
    fn open(samples: &servers::Samples, seed: u64) -> anyhow::Result<Self> {
        let documents = Documents::write(samples).context("cannot write the demo's documents")?;
        let texts = vec![Text { name: "quickstart.yaml".into(), text: documents.text.as_str().into() }];
        let bundle = Bundle { texts, options: Options::default() };
        let (plan, problems) = compile(&bundle);
        if errors(&problems) > 0 {
            return Err(anyhow!("the demo's own documents have errors: {problems:?}"));
        }
        let options = weir_proxy::Options {
            outbound: Some(([127, 0, 0, 1], 0).into()),
            workers: 1,
            access_log: Some(weir_policy::plan::AccessLog::Off),
            name: "demo".to_owned(),
            namespace: "default".to_owned(),
            seed,
            name_servers: Vec::new(),
            secrets: None,
            sample: 10_000,
            ceilings: weir_proxy::Ceilings::default(),
        };
        let handle = weir_proxy::start(options, plan, &mut weir_proxy::Handed::default())?;
        let outbound = handle.outbound().context("the demo has an outbound listener")?;
        let plane = Arc::new(Plane(handle));
        let store = Arc::new(Store::default());
        store.accept(hash(&bundle.texts), problems);
        let shared = Arc::clone(&plane) as Arc<dyn DataPlane>;
        let follower = Arc::new(Follower::new(vec![documents.file()], bundle.options, Arc::clone(&shared), store));
        let socket = admin::bind(([127, 0, 0, 1], 0).into()).map_err(|why| anyhow!(why))?;
        let address = socket.local_addr().context("the admin address")?;
        let upgrade = Arc::new(|| Err("a demo is not upgraded: start it again".to_owned()));
        let admin = admin::Admin { plane: shared, follower: Arc::clone(&follower), upgrade };
        let server = admin::start(socket, admin).map_err(|why| anyhow!(why))?;
        let following = follower.start(say).context("cannot follow the demo's documents")?;
        Ok(Self { plane, outbound, admin: address, documents, _admin: server, _following: following })
    }
}

impl Stage {
    /// The metrics, once the last request is in them: a caller has its answer a moment before it is counted.
    fn counted(&self) -> String {
        for _ in 0..PATIENCE {
            let metrics = self.plane.metrics();
            if account::is_complete(&metrics) {
                return metrics;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        self.plane.metrics()
    }
}

/// The documents, in a folder that goes with the demo.
struct Documents {
    folder: PathBuf,
    text: String,
}

impl Documents {
    fn write(samples: &servers::Samples) -> std::io::Result<Self> {
        let text =
            samples.ports().iter().fold(MESH.to_owned(), |text, (name, port)| text.replace(name, &port.to_string()));
        let folder = std::env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let documents = Self { folder, text };
        std::fs::write(documents.file(), &documents.text)?;
        Ok(documents)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("quickstart.yaml")
    }
}

impl Drop for Documents {
    fn drop(&mut self) {
        // What is left behind in the folder of temporary files harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
