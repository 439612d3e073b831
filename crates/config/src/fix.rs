//! Mechanical fixes: edits of single lines, so that comments and formatting stay.
//!
//! ```text
//!   check ─► edits ─► all of them ─► check: better? ─yes─► again, until nothing is left to edit
//!                        └ no ─► one at a time, keeping those that make it better
//! ```
//! Better: fewer errors, else fewer warnings, else fewer infos, and no new kind of error. What is not better is not kept, so fixing twice is
//! fixing once.
//!
//! Does not: read or write files.

use crate::bundle::{Bundle, Text};
use crate::decode::similarity;
use crate::lower::check;
use crate::problem::{Code, Edit, Problem, Severity};
use std::ops::Range;

/// Rounds of editing and checking.
const ROUNDS: usize = 8;
/// Edits that are tried one at a time in a round.
const SINGLE: usize = 64;

/// A bundle after fixing, and what is left.
pub struct Fixed {
    pub bundle: Bundle,
    pub problems: Vec<Problem>,
    /// Edits that were kept.
    pub edits: usize,
}

/// One change of a text.
struct Change {
    text: usize,
    bytes: Range<usize>,
    new: String,
}

/// Applies every fix that makes the bundle better.
pub fn fix(mut bundle: Bundle) -> Fixed {
    let mut problems = check(&bundle).1;
    let mut edits = 0;
    for _ in 0..ROUNDS {
        let changes = changes(&bundle, &problems);
        let Some(better) = improve(&bundle, &problems, &changes) else { break };
        edits += better.edits;
        (bundle, problems) = (better.bundle, better.problems);
    }
    Fixed { bundle, problems, edits }
}

/// Would [`fix`] try to mend it?
pub fn is_fixable(problem: &Problem) -> bool {
    problem.fix.is_some() || quoted(problem).is_some() || meant(problem).is_some()
}

fn improve(bundle: &Bundle, problems: &[Problem], changes: &[Change]) -> Option<Fixed> {
    if changes.is_empty() {
        return None;
    }
    let all: Vec<&Change> = changes.iter().collect();
    if let Some(better) = attempt(bundle, &all, problems) {
        return Some(better);
    }
    let mut kept: Option<Fixed> = None;
    // From behind, so that what is in front keeps its bytes.
    for change in changes.iter().rev().take(SINGLE) {
        let (from, best) = kept.as_ref().map_or((bundle, problems), |kept| (&kept.bundle, &kept.problems));
        if let Some(mut better) = attempt(from, &[change], best) {
            better.edits += kept.as_ref().map_or(0, |kept| kept.edits);
            kept = Some(better);
        }
    }
    kept
}

fn attempt(bundle: &Bundle, changes: &[&Change], before: &[Problem]) -> Option<Fixed> {
    let mut bundle = bundle.clone();
    for change in changes.iter().rev() {
        let text = &mut bundle.texts[change.text].text;
        let mut mended = String::from(&**text);
        mended.replace_range(change.bytes.clone(), &change.new);
        *text = mended.into();
    }
    let problems = check(&bundle).1;
    is_better(&problems, before).then_some(Fixed { bundle, problems, edits: changes.len() })
}

/// Less of something, and no error that was not there.
fn is_better(after: &[Problem], before: &[Problem]) -> bool {
    let count = |problems: &[Problem], code| problems.iter().filter(|problem| problem.code == code).count();
    let errors = after.iter().filter(|problem| problem.severity == Severity::Error);
    score(after) < score(before) && errors.into_iter().all(|one| count(after, one.code) <= count(before, one.code))
}

fn score(problems: &[Problem]) -> [usize; 3] {
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    [Severity::Error, Severity::Warning, Severity::Info].map(count)
}

/// Words of a text and what is to stand there instead; columns from 1, in characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replacement {
    pub line: u32,
    pub column: u32,
    /// The first column behind the words.
    pub end: u32,
    pub new: String,
}

/// The mechanical remedy of a problem of this text.
pub fn replacement(text: &Text, problem: &Problem) -> Option<Replacement> {
    let (bytes, new) = remedy(text, problem)?;
    let start = text.text[..bytes.start].rfind('\n').map_or(0, |at| at + 1);
    let line = text.text[..start].matches('\n').count() as u32 + 1;
    let column = text.text[start..bytes.start].chars().count() as u32 + 1;
    let end = column + text.text[bytes].chars().count() as u32;
    Some(Replacement { line, column, end, new })
}

/// The changes that the problems ask for, in order, none over another.
fn changes(bundle: &Bundle, problems: &[Problem]) -> Vec<Change> {
    let mut out: Vec<Change> = problems.iter().filter_map(|problem| change(bundle, problem)).collect();
    out.sort_by_key(|change| (change.text, change.bytes.start, change.bytes.end));
    out.dedup_by(|later, earlier| later.text == earlier.text && later.bytes.start < earlier.bytes.end);
    out
}

fn change(bundle: &Bundle, problem: &Problem) -> Option<Change> {
    let text = bundle.texts.iter().position(|text| text.name == problem.place.file)?;
    remedy(&bundle.texts[text], problem).map(|(bytes, new)| Change { text, bytes, new })
}

/// The bytes that a problem's remedy replaces, and by what.
fn remedy(source: &Text, problem: &Problem) -> Option<(Range<usize>, String)> {
    if !is_fixable(problem) {
        return None;
    }
    match &problem.fix {
        Some(edit) => find(source, edit),
        None => at_place(source, problem),
    }
}

/// Where the old words of an edit stand; in a quoted scalar they may be escaped.
fn find(source: &Text, edit: &Edit) -> Option<(Range<usize>, String)> {
    let (start, _) = line(source, edit.line)?;
    let end = source.text[start..].match_indices('\n').nth(Edit::REACH).map_or(source.text.len(), |(at, _)| start + at);
    let escapes: [fn(&str) -> String; 3] =
        [str::to_owned, |text| text.replace('"', "\\\""), |text| text.replace('\'', "''")];
    escapes.iter().find_map(|escape| {
        let (old, new) = (escape(&edit.old), escape(&edit.new));
        let at = start + source.text[start..end].find(&old)?;
        Some((at..at + old.len(), new))
    })
}

/// What stands at the place of a problem whose remedy says what to write instead.
fn at_place(source: &Text, problem: &Problem) -> Option<(Range<usize>, String)> {
    let (start, line) = line(source, problem.place.line)?;
    let offset = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
    let column = (problem.place.column as usize).checked_sub(1)?;
    // A quoted word begins with its quote.
    let column = column + usize::from(line[offset(column)..].starts_with(['"', '\'']));
    let bytes = offset(column)..offset(column + problem.length as usize);
    let old = &line[bytes.clone()];
    let new = match (quoted(problem), meant(problem)) {
        (Some(bare), _) => (old == bare).then(|| format!("\"{bare}\""))?,
        (None, Some(meant)) => (similarity(old, meant) && old != meant).then(|| meant.to_owned())?,
        (None, None) => return None,
    };
    Some((start + bytes.start..start + bytes.end, new))
}

fn quoted(problem: &Problem) -> Option<&str> {
    let hint = problem.hint.as_deref().filter(|_| problem.code == Code::WrongType)?;
    hint.strip_prefix("quote it: \"")?.strip_suffix('"').filter(|bare| !bare.is_empty())
}

fn meant(problem: &Problem) -> Option<&str> {
    let named = [Code::UnknownField, Code::UnknownKind, Code::Value].contains(&problem.code);
    problem.hint.as_deref().filter(|_| named)?.strip_prefix("did you mean `")?.strip_suffix("`?")
}

/// A line (from 1): where it starts, and its text.
fn line(source: &Text, number: u32) -> Option<(usize, &str)> {
    let index = (number as usize).checked_sub(1)?;
    let mut start = 0;
    for (at, line) in source.text.split_inclusive('\n').enumerate() {
        if at == index {
            return Some((start, line.trim_end_matches(['\r', '\n'])));
        }
        start += line.len();
    }
    None
}

/// The changed lines of a text with what is around them, as `diff -u` shows them. Fixes keep the number of lines.
pub fn diff(before: &Text, after: &Text) -> String {
    const AROUND: usize = 2;
    let (old, new): (Vec<&str>, Vec<&str>) = (before.text.lines().collect(), after.text.lines().collect());
    let changed: Vec<usize> = (0..old.len().min(new.len())).filter(|at| old[*at] != new[*at]).collect();
    let mut out = format!("--- {}\n+++ {}\n", before.name, after.name);
    let mut rest = changed.as_slice();
    while let Some(first) = rest.first() {
        let near = rest.windows(2).take_while(|pair| pair[1] - pair[0] <= 2 * AROUND).count();
        let (start, end) = (first.saturating_sub(AROUND), (rest[near] + AROUND + 1).min(old.len()));
        out += &format!("@@ -{0},{1} +{0},{1} @@\n", start + 1, end - start);
        for at in start..end {
            if old[at] == new[at] {
                out += &format!(" {}\n", old[at]);
            } else {
                out += &format!("-{}\n+{}\n", old[at], new[at]);
            }
        }
        rest = &rest[near + 1..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Options;
    use proptest::prelude::*;

    fn fixed(text: &str) -> Fixed {
        let texts = vec![Text { name: "f.yaml".into(), text: text.into() }];
        fix(Bundle { texts, options: Options::default() })
    }

    const ROUTE: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService # the shop's
metadata: { name: it }
spec:
  hosts: [app.test]
  http:
  - fault: { abort: { percent: 5, httpStatus: 500 } }   # a rehearsal
    match: [{ headers: { x-debug: { exact: true } } }]
    route: [{ destination: { hots: app.test } }]
    timout: 5s
";

    #[test]
    fn comments_and_formatting_stay() {
        let fixed = fixed(ROUTE);
        let wanted = ROUTE
            .replace("percent: 5", "percentage: { value: 5 }")
            .replace("exact: true", "exact: \"true\"")
            .replace("hots:", "host:")
            .replace("timout:", "timeout:");
        assert_eq!(&*fixed.bundle.texts[0].text, wanted);
        assert_eq!(fixed.edits, 4);
    }

    #[test]
    fn fixing_twice_is_fixing_once() {
        let once = fixed(ROUTE).bundle.texts[0].text.clone();
        let twice = fixed(&once);
        assert_eq!((twice.edits, &twice.bundle.texts[0].text), (0, &once));
    }

    #[test]
    fn an_edit_that_does_not_help_is_not_kept() {
        // `timout` cannot become `timeout`: that stands there already. The other one is kept.
        let text = ROUTE.replace("    timout: 5s\n", "    timout: 5s\n    timeout: 6s\n");
        let fixed = fixed(&text);
        assert!(fixed.bundle.texts[0].text.contains("    timout: 5s\n    timeout: 6s\n"));
        assert!(fixed.bundle.texts[0].text.contains("host: app.test"));
    }

    #[test]
    fn alerts_are_mended_in_quoted_and_plain_expressions() {
        let alert = |expr: &str| {
            format!(
                "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {{ name: it }}\nspec:\n  groups:\n  - name: g\n    rules:\n    - alert: A\n      expr: {expr}\n"
            )
        };
        let rows = [
            (
                r#"rate(istio_requests_total{response_code="5xx"}[5m]) > 1"#,
                r#"rate(istio_requests_total{response_code=~"5.."}[5m]) > 1"#,
            ),
            (
                r#""rate(istio_requests_total{response_code=\"5xx\"}[5m]) > 1""#,
                r#""rate(istio_requests_total{response_code=~\"5..\"}[5m]) > 1""#,
            ),
            (
                "|\n        histogram_quantile(0.9,\n          rate(istio_request_bytes_bucket{code='5xx'}[1m])) > 1",
                "|\n        histogram_quantile(0.9,\n          rate(istio_request_bytes_bucket{response_code=~\"5..\"}[1m])) > 1",
            ),
        ];
        for (sick, cured) in rows {
            assert_eq!(*fixed(&alert(sick)).bundle.texts[0].text, *alert(cured));
        }
    }

    #[test]
    fn a_diff_shows_what_changed() {
        let text = |text: &str| Text { name: "f".into(), text: text.into() };
        let shown = diff(&text("a\nb\nc\nd\ne\n"), &text("a\nb\nC\nd\ne\n"));
        assert_eq!(shown, "--- f\n+++ f\n@@ -1,5 +1,5 @@\n a\n b\n-c\n+C\n d\n e\n");
    }

    proptest! {
        #[test]
        fn broken_texts_never_get_worse(cut in 0usize..400, junk in "[a-z:{}\\[\\] \"'\n-]{0,12}") {
            let mut text = ROUTE.to_owned();
            let mut cut = cut.min(text.len());
            while !text.is_char_boundary(cut) {
                cut -= 1;
            }
            text.insert_str(cut, &junk);
            let bundle = Bundle { texts: vec![Text { name: "f".into(), text: text.into() }], options: Options::default() };
            let before = score(&check(&bundle).1);
            prop_assert!(score(&fix(bundle).problems) <= before);
        }
    }
}
