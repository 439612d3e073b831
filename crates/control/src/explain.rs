//! What happens to a request, and why, as JSON: of one that is asked about, and of one that was recorded. One form for both.
//!
//! ```text
//!   URL, headers ─► ask ─► the plan's own routing ─► routing ─┐
//!                                                             ├─ parts: route, destinations, values with places ─► JSON
//!   Decision (a real request) ──────────────────► record ─────┘          + tries, outcome
//! ```
//! Does not: route by rules of its own; `weir_policy::route` does, as in the proxy.

mod ask;
mod lists;
mod parts;
mod record;
mod routing;

pub use ask::{Ask, query};
pub use lists::{clusters, endpoints, listeners, routes};
pub use record::{recorded, summary};
pub use routing::{Live, explained};
