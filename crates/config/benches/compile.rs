//! How long documents take: `cargo bench -p weir-config`. Prints milliseconds, the least and the median of some rounds, for others
//! may want the machine too; the goals are 2 s cold, 20 ms for one change, and a change that never took so little fails.
//!
//! 10,000 VirtualServices, 1,000 DestinationRules and 1,000 ServiceEntries, in one text and in one text each: compiled
//! cold, checked, and compiled again with one document changed.

#![allow(clippy::disallowed_methods, reason = "a bench reads the clock")]

use documents::{CHANGES, change, joined, show, single, time};
use std::process::ExitCode;
use weir_config::{Compiler, check, compile};

mod documents;

const ROUNDS: usize = 5;
/// Of what is short.
const MANY: usize = 25;

fn main() -> ExitCode {
    let mut late = false;
    for (name, bundle) in [("one text", joined()), ("a text each", single())] {
        let bytes: usize = bundle.texts.iter().map(|text| text.text.len()).sum();
        println!("{name}: {} texts, {} KiB", bundle.texts.len(), bytes >> 10);
        show("compile", (0..ROUNDS).map(|_| time(|| compile(&bundle))));
        show("check", (0..ROUNDS).map(|_| time(|| check(&bundle))));
        let mut compiler = Compiler::default();
        compiler.compile(&bundle);
        show("again, nothing changed", (0..MANY).map(|_| time(|| compiler.compile(&bundle))));
        for (what, document, value) in CHANGES {
            let mut changed = bundle.clone();
            let rounds = (0..MANY).map(|round| {
                change(&mut changed, document, value, round);
                time(|| compiler.compile(&changed))
            });
            late |= show(&format!("again, {what} changed"), rounds) > documents::GOAL;
        }
    }
    ExitCode::from(u8::from(late))
}
