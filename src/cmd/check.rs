//! `weir check`: reads documents, mends them if asked, says what is wrong with them.

mod coverage;
mod github;
mod human;
mod pages;
mod progress;
mod sarif;

use crate::args::{Check, Deny, Format};
pub(crate) use human::print;
use progress::Progress;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use weir_config::{Bundle, Code, Problem, Severity, Text, fix};
use weir_control::{admin, source};

pub(crate) fn check(args: &Check) -> anyhow::Result<ExitCode> {
    if let Some(code) = args.explain {
        out(pages::section(code));
        return Ok(ExitCode::SUCCESS);
    }
    if args.coverage {
        out(&coverage::shown(args.format));
        return Ok(ExitCode::SUCCESS);
    }
    let (texts, problems) = source::read(&args.paths);
    // A file that is too large, or no text, was looked at, and is refused as any other.
    let (unreadable, refused): (Vec<Problem>, Vec<Problem>) =
        problems.into_iter().partition(|problem| problem.code == Code::Unreadable);
    if !unreadable.is_empty() {
        for problem in &unreadable {
            eprintln!("weir: {}", problem.words);
        }
        return Ok(ExitCode::from(2));
    }
    let bundle = Bundle { texts, options: args.documents.options() };
    let progress = Progress::start(bundle.texts.len());
    let (bundle, mut problems) = if args.fix {
        let fixed = fix::fix(bundle.clone());
        drop(progress);
        write(&bundle.texts, &fixed, args.format)?;
        (fixed.bundle, fixed.problems)
    } else {
        let problems = weir_config::check(&bundle).1;
        drop(progress);
        (bundle, problems)
    };
    problems.extend(refused);
    report(args.format, &problems, &bundle.texts);
    let denied = |problem: &Problem| {
        args.deny.iter().any(|deny| match deny {
            Deny::Warnings => problem.severity == Severity::Warning,
            Deny::Code(code) => problem.code == *code,
        })
    };
    let failed = problems.iter().any(|problem| problem.severity == Severity::Error || denied(problem));
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Shows what was mended, and writes it; what came from stdin is shown only.
fn write(before: &[Text], fixed: &fix::Fixed, format: Format) -> anyhow::Result<()> {
    let changed = before.iter().zip(&fixed.bundle.texts).filter(|(before, after)| before.text != after.text);
    let mut files = 0;
    for (before, after) in changed {
        let diff = fix::diff(before, after);
        if format == Format::Human {
            out(&diff);
        } else {
            eprint!("{diff}");
        }
        if &*after.name != "<stdin>" {
            let path = Path::new(&*after.name);
            std::fs::write(path, after.text.as_bytes())
                .map_err(|why| anyhow::anyhow!("cannot write {}: {why}", path.display()))?;
            files += 1;
        }
    }
    eprintln!("weir: {} mended in {}", fixed.edits, counted((files, "file")));
    Ok(())
}

fn report(format: Format, problems: &[Problem], texts: &[Text]) {
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let [errors, warnings, infos] = [Severity::Error, Severity::Warning, Severity::Info].map(count);
    match format {
        Format::Human => {
            print(problems, texts);
            let [files, errors, warnings, infos] =
                [(texts.len(), "file"), (errors, "error"), (warnings, "warning"), (infos, "info")].map(counted);
            eprintln!("{files}: {errors}, {warnings}, {infos}");
            human::next_steps(problems);
        }
        Format::Json => {
            let problems: Vec<_> = problems.iter().map(admin::problem).collect();
            let summary = serde_json::json!({ "errors": errors, "warnings": warnings, "infos": infos });
            let report = serde_json::json!({ "version": 1, "problems": problems, "summary": summary });
            out(&format!("{report:#}\n"));
        }
        Format::Github => out(&github::annotations(problems)),
        Format::Sarif => out(&format!("{:#}\n", sarif::log(problems, texts))),
    }
}

fn counted((number, word): (usize, &str)) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

fn out(text: &str) {
    // A reader that went away has seen what it wanted.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
