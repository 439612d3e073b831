//! `weir check`: reads documents, prints what is wrong with them.

use crate::args::{Check, Deny, Format};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::io::IsTerminal;
use std::io::Write;
use std::process::ExitCode;
use weir_config::{Bundle, Problem, Severity, Text};
use weir_control::{admin, source};

pub(crate) fn check(args: &Check) -> anyhow::Result<ExitCode> {
    let (texts, unreadable) = source::read(&args.paths);
    if !unreadable.is_empty() {
        for problem in &unreadable {
            eprintln!("weir: {}", problem.words);
        }
        return Ok(ExitCode::from(2));
    }
    let bundle = Bundle { texts, options: args.documents.options() };
    let (_, problems) = weir_config::check(&bundle);
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let [errors, warnings, infos] = [Severity::Error, Severity::Warning, Severity::Info].map(count);
    match args.format {
        Format::Human => {
            print(&problems, &bundle.texts);
            let files = bundle.texts.len();
            eprintln!(
                "{files} {}: {errors} errors, {warnings} warnings, {infos} infos",
                if files == 1 { "file" } else { "files" }
            );
        }
        Format::Json => {
            let problems: Vec<_> = problems.iter().map(admin::problem).collect();
            let summary = serde_json::json!({ "errors": errors, "warnings": warnings, "infos": infos });
            let report = serde_json::json!({ "version": 1, "problems": problems, "summary": summary });
            // A reader that went away has seen what it wanted.
            let _ = writeln!(std::io::stdout(), "{report:#}");
        }
    }
    let failed = errors > 0 || (args.deny == Some(Deny::Warnings) && warnings > 0);
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Shows problems on stderr as a compiler does, in colour on a terminal only.
pub(crate) fn print(problems: &[Problem], texts: &[Text]) {
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
    for problem in problems {
        let text = texts.iter().find(|text| text.name == problem.place.file);
        eprintln!("{}\n", render(&renderer, problem, text));
    }
}

fn render(renderer: &Renderer, problem: &Problem, text: Option<&Text>) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let title = level.primary_title(problem.words.as_str()).id(problem.code.text());
    let mut report: Vec<Group<'_>> = Vec::new();
    let shown = text.and_then(|text| Some((text, lines_around(text, problem)?)));
    report.push(match shown {
        Some((text, (first, lines, span))) => {
            let snippet = Snippet::source(lines).path(&*text.name).line_start(first);
            title.element(snippet.annotation(AnnotationKind::Primary.span(span)))
        }
        None => Group::with_title(title),
    });
    if let Some(hint) = &problem.hint {
        report.push(Group::with_title(Level::HELP.secondary_title(hint.as_str())));
    }
    renderer.render(&report)
}

/// The line of a problem (a huge file is not scanned by the renderer), its number, and the bytes to underline.
fn lines_around<'t>(text: &'t Text, problem: &Problem) -> Option<(usize, &'t str, std::ops::Range<usize>)> {
    let number = problem.place.line as usize;
    let line = text.text.lines().nth(number.checked_sub(1)?)?;
    let offset = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let column = (problem.place.column as usize).saturating_sub(1);
    let start = offset(column);
    let end = offset(column + problem.length as usize).max(start);
    Some((number, line, start..end))
}
