//! `weir demo`: a mesh in one process, with failures, and an account of what the policies did.

use crate::args::Demo;
use std::process::ExitCode;

pub(crate) fn demo(args: &Demo) -> anyhow::Result<ExitCode> {
    anyhow::bail!("{args:?}")
}
