//! How long a reload takes, from the word that a file changed to the finished plan: `cargo bench -p weir-control`. A folder with
//! 12,000 documents in a file each, on a real disk. The goal is 20 ms for one change; a change that never took so little fails.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "a bench reads the clock, and a failure is a failure"
)]

use documents::{CHANGES, change, show, single};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use weir_config::{Bundle, Compiler};
use weir_control::source::{Change, Reader};

#[path = "../../config/benches/documents/mod.rs"]
mod documents;

const ROUNDS: usize = 25;

fn main() -> ExitCode {
    let folder = std::env::temp_dir().join(format!("weir-reload-{}", std::process::id()));
    fs::create_dir_all(folder.join("mesh")).expect("a folder");
    let mut bundle = single();
    for text in &bundle.texts {
        fs::write(folder.join(&*text.name), &*text.text).expect("written");
    }
    let late = reloads(&folder, &mut bundle);
    fs::remove_dir_all(&folder).expect("removed");
    ExitCode::from(u8::from(late))
}

fn reloads(folder: &Path, bundle: &mut Bundle) -> bool {
    let (paths, options) = ([folder.to_owned()], bundle.options.clone());
    let (mut reader, mut compiler) = (Reader::default(), Compiler::default());
    let mut reload = |change: &Change| {
        let start = Instant::now();
        let read = reader.read(&paths, change);
        let bundle = Bundle { texts: read.texts, options: options.clone() };
        let made = compiler.compile(&bundle);
        reader.keep(bundle.texts);
        let time = start.elapsed();
        drop(made);
        time
    };
    show("everything, for the first time", [reload(&Change::Anything)].into_iter());
    show("nothing changed, everything looked at", (0..ROUNDS).map(|_| reload(&Change::Anything)));
    let mut late = false;
    for (what, document, value) in CHANGES {
        let rounds = (0..ROUNDS).map(|round| {
            change(bundle, document, value, round);
            let text = bundle.texts.iter().find(|text| text.text.contains(document)).expect("the document");
            let file = folder.join(&*text.name);
            fs::write(&file, &*text.text).expect("written");
            reload(&Change::Files([file].into()))
        });
        late |= show(&format!("{what} changed"), rounds) > documents::GOAL;
    }
    late
}
