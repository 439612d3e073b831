//! weir-control TELLS: where documents come from, which version is in force, and who may ask.
//!
//! ```text
//!   files, SIGHUP, POST /reload ─► source: read ─► compile ─► errors? ──yes──► last good plan stays, problems are kept
//!                                                               │ no
//!                                                               └─► DataPlane::commit ─► version NUMBER-HASH8
//! ```
//! It knows a data plane only by the trait [`DataPlane`]. Does not: carry traffic.

pub mod admin;
pub mod explain;
pub mod follow;
mod inspect;
pub mod source;
pub mod state;
pub mod store;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use weir_config::Problem;
use weir_policy::decision::{Decision, Filter};
use weir_policy::plan::Plan;

/// What control needs of a data plane.
pub trait DataPlane: Send + Sync {
    /// Puts a plan in force everywhere, or changes nothing and says why.
    ///
    /// # Errors
    /// Words for a person: what failed and what to do.
    fn commit(&self, plan: Plan) -> Result<(), String>;

    /// Reads keys and certificates again, and puts those in force that are good. What is wrong with the others.
    fn renew(&self) -> Vec<Problem>;

    /// Folders with keys.
    fn key_folders(&self) -> BTreeSet<PathBuf>;

    /// All series, as Prometheus text.
    fn metrics(&self) -> String;

    /// Does it accept requests?
    fn ready(&self) -> bool;

    /// Shows the plan in force.
    fn inspect(&self, see: &mut dyn FnMut(&Plan));

    /// The endpoints of the cluster with this id, as they are now.
    fn endpoints(&self, cluster: &str) -> Vec<EndpointState>;

    /// The records of requests that are kept.
    fn decisions(&self) -> Vec<Arc<Decision>>;

    /// Records as they are made; `None` = too many watch already.
    fn tap(&self, filter: Filter) -> Option<Tap>;
}

/// One endpoint at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndpointState {
    pub address: SocketAddr,
    /// Requests under way to it.
    pub active: u32,
    /// For how long it is out at least, when it is.
    pub ejected: Option<Duration>,
}

/// Records as they are made; dropping it ends the watching.
#[derive(Debug)]
pub struct Tap {
    pub records: Receiver<Arc<Decision>>,
    /// How many were lost because nobody took those before them.
    pub dropped: Arc<AtomicU64>,
}
