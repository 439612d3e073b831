//! weir-config UNDERSTANDS: Istio's documents in, a plan and every problem out.
//!
//! ```text
//!   Bundle ─► yaml: nodes with places ─► kind: Istio's words ─► graph: who points at whom ─► lower: policy's rules ─► Plan
//!                 └──────────────┴──────────────── problems, all of them, with places ──────────────┘
//! ```
//! `run` and the simulator call [`compile`], `weir check` calls [`check()`], which is the same and looks for what is accepted and
//! surely not meant: there is one translation in the product.
//!
//! Does not: read files or clocks.

pub mod bundle;
pub mod check;
pub mod coverage;
pub mod decode;
pub mod duration;
pub mod fields;
pub mod fix;
pub mod graph;
pub mod kind;
pub mod lower;
pub mod meta;
pub mod names;
pub mod problem;
pub mod re2;
pub mod schema;
pub mod url;
pub mod words;
pub mod yaml;

pub use bundle::{Bundle, Options, Text};
pub use lower::{Compiler, check, compile};
pub use problem::{Code, Edit, Problem, Severity};
