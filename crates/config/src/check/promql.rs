//! As much of PromQL as lints need: selectors with their matchers, and the arguments of `histogram_quantile`.
//!
//! Does not: know whether the rest is an expression at all (the rule evaluator does).

/// `name{label op "value", …}`.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Selector<'t> {
    /// Empty when only `{…}` is written.
    pub(super) name: &'t str,
    pub(super) matchers: Vec<Matcher<'t>>,
}

/// One condition of a selector.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Matcher<'t> {
    pub(super) label: &'t str,
    /// `=`, `!=`, `=~`, `!~`.
    pub(super) operator: &'t str,
    pub(super) value: &'t str,
    /// All of it, as written.
    pub(super) text: &'t str,
}

/// A call of `histogram_quantile`.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Quantile<'t> {
    /// From the name to the closing bracket.
    pub(super) text: &'t str,
    /// The second argument.
    pub(super) over: &'t str,
}

/// Characters of an expression that are looked at.
const LONGEST: usize = 64 * 1024;

/// Every selector of an expression: metrics with or without conditions.
pub(super) fn selectors(text: &str) -> Vec<Selector<'_>> {
    let text = bounded(text);
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let name = word(rest);
        if !name.is_empty() {
            let behind = rest[name.len()..].trim_start();
            let open = rest.len() - behind.len();
            if behind.starts_with('{') {
                let (matchers, length) = matchers(behind);
                out.push(Selector { name, matchers });
                at += open + length;
            } else {
                // A function has a bracket, a label of `by (…)` an underscore or none: metrics are told by their users.
                if !behind.starts_with('(') {
                    out.push(Selector { name, matchers: Vec::new() });
                }
                at += name.len();
            }
        } else if rest.starts_with('{') {
            let (matchers, length) = matchers(rest);
            out.push(Selector { name: "", matchers });
            at += length;
        } else {
            at += quoted(rest).or_else(|| rest.chars().next().map(char::len_utf8)).unwrap_or(1);
        }
    }
    out
}

/// Every call of `histogram_quantile`.
pub(super) fn quantiles(text: &str) -> Vec<Quantile<'_>> {
    const NAME: &str = "histogram_quantile";
    let text = bounded(text);
    let mut out = Vec::new();
    for (start, _) in text.match_indices(NAME) {
        let inside = text[start + NAME.len()..].trim_start();
        let Some(arguments) = inside.strip_prefix('(') else { continue };
        let first = text.len() - arguments.len();
        let (mut depth, mut comma, mut at) = (0usize, None, 0);
        while let Some(character) = arguments[at..].chars().next() {
            let width = quoted(&arguments[at..]).unwrap_or(character.len_utf8());
            match character {
                '(' | '[' | '{' => depth += 1,
                ')' if depth == 0 => {
                    let over = comma.map_or("", |comma: usize| arguments[comma..at].trim());
                    out.push(Quantile { text: &text[start..=first + at], over });
                    break;
                }
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                ',' if depth == 0 && comma.is_none() => comma = Some(at + 1),
                _ => {}
            }
            at += width;
        }
    }
    out
}

fn bounded(text: &str) -> &str {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The matchers of `{…}`, and how long all of it is.
fn matchers(text: &str) -> (Vec<Matcher<'_>>, usize) {
    let mut out = Vec::new();
    let mut at = 1;
    while at < text.len() && !text[at..].starts_with('}') {
        let rest = &text[at..];
        match matcher(rest) {
            Some(found) => {
                at += found.text.len();
                out.push(found);
            }
            None => at += quoted(rest).or_else(|| rest.chars().next().map(char::len_utf8)).unwrap_or(1),
        }
    }
    (out, (at + 1).min(text.len()))
}

fn matcher(text: &str) -> Option<Matcher<'_>> {
    let label = word(text);
    let behind = text[label.len()..].trim_start();
    let operator = ["=~", "!~", "!=", "="].into_iter().find(|operator| behind.starts_with(operator))?;
    let behind = behind[operator.len()..].trim_start();
    let length = quoted(behind)?;
    let end = text.len() - behind.len() + length;
    (!label.is_empty() && length >= 2).then(|| Matcher {
        label,
        operator,
        value: &behind[1..length - 1],
        text: &text[..end],
    })
}

fn word(text: &str) -> &str {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':');
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    if starts { &text[..end] } else { "" }
}

/// How long the string at the start is, with its quotes; `None` when there is none, or it does not end.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if character == '\\' && quote != '`' {
            escaped = true;
        } else if character == quote {
            return Some(at + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn selectors_and_matchers_are_found() {
        let found = selectors(r#"sum(rate(a_total{x="1", y=~"2|}"}[5m])) by (z) / b_total"#);
        let names: Vec<&str> = found.iter().map(|one| one.name).collect();
        assert!(names.contains(&"a_total") && names.contains(&"b_total"), "{names:?}");
        let first = found.iter().find(|one| one.name == "a_total").map(|one| &one.matchers);
        let texts: Vec<&str> = first.into_iter().flatten().map(|one| one.text).collect();
        assert_eq!(texts, [r#"x="1""#, r#"y=~"2|}""#]);
    }

    #[test]
    fn quantiles_have_their_second_argument() {
        let found = quantiles(r#"histogram_quantile(0.9, sum by (le) (rate(x_bucket{a=")"}[5m]))) > 1"#);
        assert_eq!(found[0].over, r#"sum by (le) (rate(x_bucket{a=")"}[5m]))"#);
        assert!(found[0].text.ends_with("))))") || found[0].text.ends_with(")))"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[a-z_{}()\[\]"'`\\=~!, é0-9]{0,80}"#) {
            let _ = selectors(&text);
            let _ = quantiles(&text);
            let _ = quantiles(&format!("histogram_quantile({text}"));
        }
    }
}
