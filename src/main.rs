//! The binary `weir`: parses the command line, runs a command, turns the result into an exit code.
fn main() {}
