//! The commands, one file each.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod upgrade;
