//! Problems as a compiler shows them: words, place, the line itself, the remedy.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::collections::HashMap;
use std::io::{BufWriter, IsTerminal, Write};
use weir_config::{Problem, Severity, Text, fix};

/// Shows problems on stderr, in colour on a terminal only.
pub(crate) fn print(problems: &[Problem], texts: &[Text]) {
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
    let mut shown: HashMap<&str, (&Text, Vec<usize>)> = HashMap::new();
    let mut out = BufWriter::new(std::io::stderr().lock());
    for problem in problems {
        let name = &*problem.place.file;
        if !shown.contains_key(name)
            && let Some(text) = texts.iter().find(|text| &*text.name == name)
        {
            shown.insert(name, (text, starts(&text.text)));
        }
        let text = shown.get(name).map(|(text, starts)| (*text, starts.as_slice()));
        // A reader that went away has seen what it wanted.
        let _ = writeln!(out, "{}\n", render(&renderer, problem, text));
    }
}

/// What a person may do next.
pub(crate) fn next_steps(problems: &[Problem]) {
    let fixable = problems.iter().filter(|problem| fix::is_fixable(problem)).count();
    if fixable > 0 {
        eprintln!("{fixable} may be mended by `weir check --fix`");
    }
    if let Some(first) = problems.first() {
        eprintln!("more about a problem: `weir check --explain {}`", first.code.text());
    }
}

/// Where each line starts.
fn starts(text: &str) -> Vec<usize> {
    let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(ends).collect()
}

fn render(renderer: &Renderer, problem: &Problem, text: Option<(&Text, &[usize])>) -> String {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let title = level.primary_title(problem.words.as_str()).id(problem.code.text());
    let mut report: Vec<Group<'_>> = Vec::new();
    let shown = text.and_then(|(text, starts)| Some((text, line_of(text, starts, problem)?)));
    report.push(match shown {
        Some((text, (first, line, span))) => {
            let snippet = Snippet::source(line).path(&*text.name).line_start(first);
            title.element(snippet.annotation(AnnotationKind::Primary.span(span)))
        }
        None => Group::with_title(title),
    });
    if let Some(hint) = &problem.hint {
        report.push(Group::with_title(Level::HELP.secondary_title(hint.as_str())));
    }
    renderer.render(&report)
}

/// Longer lines are cut: nobody reads them, and the renderer would measure them.
const LONGEST: usize = 2000;

/// The line of a problem, its number, and the bytes to underline.
fn line_of<'t>(
    text: &'t Text,
    starts: &[usize],
    problem: &Problem,
) -> Option<(usize, &'t str, std::ops::Range<usize>)> {
    let number = problem.place.line as usize;
    let start = *starts.get(number.checked_sub(1)?)?;
    let end = starts.get(number).copied().unwrap_or(text.text.len());
    let line = text.text[start..end].trim_end_matches(['\r', '\n']);
    let cut = line.char_indices().nth(LONGEST).map_or(line.len(), |(at, _)| at);
    let line = &line[..cut];
    let offset = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let column = (problem.place.column as usize).saturating_sub(1);
    let start = offset(column);
    let end = offset(column + problem.length as usize).max(start);
    Some((number, line, start..end))
}
