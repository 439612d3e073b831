//! weir-control TELLS: where documents come from, which version is in force, and who may ask.
//!
//! ```text
//!   files, SIGHUP, POST /reload ─► source: read ─► compile ─► errors? ──yes──► last good plan stays, problems are kept
//!                                                               │ no
//!                                                               └─► DataPlane::commit ─► version NUMBER-HASH8
//! ```
//! It knows a data plane only by the trait [`DataPlane`]. Does not: carry traffic.

pub mod admin;
pub mod follow;
pub mod source;
pub mod state;
pub mod store;

use weir_policy::plan::Plan;

/// What control needs of a data plane.
pub trait DataPlane: Send + Sync {
    /// Puts a plan in force everywhere, or changes nothing and says why.
    ///
    /// # Errors
    /// Words for a person: what failed and what to do.
    fn commit(&self, plan: Plan) -> Result<(), String>;

    /// All series, as Prometheus text.
    fn metrics(&self) -> String;

    /// Does it accept requests?
    fn ready(&self) -> bool;
}
