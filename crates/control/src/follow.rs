//! Follows a source of documents: each change is compiled here and committed to the data plane, one at a time.
//!
//! ```text
//!   changed ─► wait until it is quiet (≤ 20 ms) ─► read ─► compile ─► commit ─► number it
//! ```

use crate::DataPlane;
use crate::source::{Change, Reader, Sources, Watch};
use crate::state::State;
use crate::store::{Store, Version, errors};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use weir_config::{Bundle, Compiler, Options, Problem, Text};
use weir_policy::plan::Plan;

/// Quiet for so long, a burst of file events is over.
const QUIET: Duration = Duration::from_millis(10);
/// A burst is cut off after so many events, so that a busy folder cannot hold a reload back.
const BURST: usize = 1000;

/// Takes documents from files to the data plane.
pub struct Follower {
    paths: Vec<PathBuf>,
    options: Options,
    plane: Arc<dyn DataPlane>,
    pub store: Arc<Store>,
    state: Option<State>,
    /// Reloads are serialised; what did not change is not read again.
    turn: Mutex<Turn>,
}

#[derive(Default)]
struct Turn {
    reader: Reader,
    compiler: Compiler,
}

impl Follower {
    /// `first` is the hash of what the data plane was started with.
    pub fn new(paths: Vec<PathBuf>, options: Options, plane: Arc<dyn DataPlane>, store: Arc<Store>) -> Self {
        Self { paths, options, plane, store, state: None, turn: Mutex::default() }
    }

    /// Remembers what was read at the start.
    #[must_use]
    pub fn remembering(self, reader: Reader, compiler: Compiler) -> Self {
        Self { turn: Mutex::new(Turn { reader, compiler }), ..self }
    }

    /// Keeps each good version there.
    #[must_use]
    pub fn keeping(self, state: Option<State>) -> Self {
        Self { state, ..self }
    }

    /// These texts are in force: a restart may need them.
    pub fn keep(&self, texts: &[Text]) {
        let kept = self.state.as_ref().map_or(Ok(()), |state| state.keep(texts));
        if let Err(why) = &kept {
            eprintln!("weir: the documents in force could not be kept in --state: {why}");
        }
        self.store.kept(kept.map_err(|why| why.to_string()));
    }

    /// Reads and commits now.
    ///
    /// # Errors
    /// Why the documents were refused; the last good plan stays.
    pub fn reload(&self) -> Result<Version, String> {
        self.take_in(&Change::Anything)
    }

    fn take_in(&self, change: &Change) -> Result<Version, String> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Turn { reader, compiler } = &mut *turn;
        let Sources { texts, problems, hash } = reader.read(&self.paths, change);
        let bundle = Bundle { texts, options: self.options.clone() };
        let outcome = self.take(&bundle, hash, compiler, problems);
        reader.keep(bundle.texts);
        self.renew();
        outcome
    }

    /// Has the keys in force read again; what is wrong is said once.
    pub fn renew(&self) {
        for problem in self.store.keys(self.plane.renew()) {
            let hint = problem.hint.unwrap_or_default();
            eprintln!("weir: warning[{}]: {}: {} ({hint})", problem.code.text(), problem.place, problem.words);
        }
    }

    fn take(
        &self,
        bundle: &Bundle,
        hash: u64,
        compiler: &mut Compiler,
        unreadable: Vec<Problem>,
    ) -> Result<Version, String> {
        let (plan, mut problems) = compiler.compile(bundle);
        problems.extend(unreadable);
        let count = errors(&problems);
        let refuse = |problems, why: String| {
            self.store.refuse(problems, why.clone());
            Err(why)
        };
        if count > 0 {
            let first = problems.iter().find(|problem| problem.severity == weir_config::Severity::Error);
            let first = first.map(|problem| format!("{}: {}", problem.place, problem.words)).unwrap_or_default();
            return refuse(problems, format!("{count} errors; the first: {first}"));
        }
        let before = self.store.version();
        if hash == before.hash {
            return Ok(self.store.same(problems));
        }
        let number = before.number + 1;
        let plan = Plan { version: Version { number, hash }.to_string().into(), ..plan };
        match self.plane.commit(plan) {
            Ok(()) => {
                let version = self.store.accept(hash, problems);
                self.keep(&bundle.texts);
                Ok(version)
            }
            Err(why) => refuse(problems, why),
        }
    }

    /// Watches the files until the sender of the returned channel's other end is gone. A message asks for a reload.
    pub fn start(
        self: &Arc<Self>,
        say: impl Fn(&Result<Version, String>) + Send + 'static,
    ) -> std::io::Result<Sender<Change>> {
        let (sender, receiver) = channel();
        let watcher = Watch::start(&self.paths, sender.clone());
        let follower = Arc::clone(self);
        std::thread::Builder::new().name("follow".into()).spawn(move || {
            follower.run(&receiver, watcher, say);
        })?;
        Ok(sender)
    }

    fn run(&self, changes: &Receiver<Change>, mut watch: Option<Watch>, say: impl Fn(&Result<Version, String>)) {
        // What changed between the first reading and the watch, nobody told.
        let mut change = Change::Anything;
        // The watch is held as long as the thread: dropping it would end it.
        loop {
            if let Some(watch) = &mut watch {
                // What changed before it was watched is read now.
                if watch.also(&self.plane.key_folders()) > 0 {
                    self.renew();
                }
            }
            let Ok(first) = changes.recv() else { return };
            change = change.and(first);
            for _ in 0..BURST {
                match changes.recv_timeout(QUIET) {
                    Ok(more) => change = change.and(more),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            let before = self.store.status();
            let outcome = self.take_in(&std::mem::replace(&mut change, Change::Files(BTreeSet::new())));
            let changed = match &outcome {
                Ok(version) => *version != before.version,
                Err(why) => before.refused.as_ref() != Some(why),
            };
            if changed {
                say(&outcome);
            }
        }
    }
}
