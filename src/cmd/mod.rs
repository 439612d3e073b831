//! The commands, one file each.

pub(crate) mod ca;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod explain;
pub(crate) mod health;
pub(crate) mod proxy_config;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod tap;
pub(crate) mod upgrade;

/// Writes to stdout, in colour on a terminal only.
pub(crate) fn out(text: &str) {
    use std::io::Write;
    // A reader that went away has seen what it wanted.
    let _ = anstream::stdout().write_all(text.as_bytes());
}
