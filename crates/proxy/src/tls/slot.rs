//! What was built of the keys of one server or destination: the last good one stays.
//!
//! ```text
//!   build ─► good ──────────────► in force
//!     └────► broken ─► before a good one: nothing to speak with   after one: that one stays, the trouble is told
//! ```

use super::keys::Files;
use super::trouble::{Fault, Trouble};
use parking_lot::Mutex;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use weir_policy::place::Place;

/// What can be built of files.
pub(crate) trait Build: Debug {
    type Built: Debug;

    fn build(&self, files: &mut Files<'_>) -> Result<Self::Built, Fault>;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Slot<R: Build> {
    pub(crate) rules: Arc<R>,
    place: Place,
    state: Mutex<State<R::Built>>,
}

#[derive(Debug)]
struct State<B> {
    /// Taken for a moment by each handshake.
    good: Option<Arc<B>>,
    trouble: Option<Trouble>,
    /// Of the files it was last built of.
    seen: u64,
    paths: Vec<PathBuf>,
}

impl<R: Build> Slot<R> {
    /// Builds it; what is wrong is its trouble.
    pub(super) fn new(rules: Arc<R>, place: Place, secrets: Option<&Path>, now: Duration) -> Self {
        let state = State { good: None, trouble: None, seen: 0, paths: Vec::new() };
        let slot = Self { rules, place, state: Mutex::new(state) };
        slot.renew(secrets, now);
        slot
    }

    /// Reads the files again. What is built of other contents takes the place of what was.
    pub(super) fn renew(&self, secrets: Option<&Path>, now: Duration) {
        let mut files = Files::new(secrets, now);
        let built = self.rules.build(&mut files);
        let (seen, paths) = (files.seen(), files.paths());
        let mut state = self.state.lock();
        let same = state.seen == seen && state.good.is_some() && state.trouble.is_none();
        state.seen = seen;
        state.paths = paths;
        match built {
            // Other keys of tickets for nothing, otherwise.
            Ok(_) if same => {}
            Ok(built) => {
                state.good = Some(Arc::new(built));
                state.trouble = None;
            }
            // It was good when it was read: what has run out since goes on until there is a better one.
            Err(_) if same => {}
            Err(fault) => state.trouble = Some(fault.at(&self.place)),
        }
    }

    /// What to speak with.
    pub(crate) fn good(&self) -> Option<Arc<R::Built>> {
        self.state.lock().good.clone()
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.state.lock().trouble.clone()
    }

    /// Where its files are.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.state.lock().paths.iter().filter_map(|path| path.parent().map(Path::to_owned)).collect()
    }
}
