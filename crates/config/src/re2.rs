//! Regular expressions as Istio writes them (RE2) in the words of the `regex` crate.
//!
//! ```text
//!   {id} and a{       literal braces, unless they count
//!   [a[b]             a bracket in a class is itself
//!   \Q…\E             quoted
//!   \d \w \s \b       ASCII only
//!   a** (?=…)         refused, as RE2 refuses them
//! ```

use regex::bytes::{Regex, RegexBuilder};

/// Istio's bound on the length.
const LONGEST: usize = 1024;
/// Bytes of a compiled pattern.
const LARGEST: usize = 1 << 20;

/// Is it a pattern that Istio accepts?
pub fn check(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() {
        return Err("it is empty".to_owned());
    }
    if pattern.len() > LONGEST {
        return Err(format!("it has {} bytes; at most {LONGEST} are allowed", pattern.len()));
    }
    search(pattern).map(drop)
}

/// The pattern, to be found anywhere.
pub fn search(pattern: &str) -> Result<Regex, String> {
    build(&translate(pattern)?)
}

/// The pattern, to match the whole value.
pub fn whole(pattern: &str) -> Result<Regex, String> {
    build(&format!("^(?:{})$", translate(pattern)?))
}

fn build(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(LARGEST).build();
    built.map_err(|why| why.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
}

fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut repeated = Repeated::No;
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let behind = &rest[first.len_utf8()..];
        (rest, repeated) = match first {
            '\\' => (escape(behind, &mut out, Inside::Nothing)?, Repeated::No),
            '[' => (class(behind, &mut out)?, Repeated::No),
            '*' | '+' | '?' => (behind, repeat(&rest[..1], repeated, &mut out)?),
            '{' => match counted(rest) {
                Some(count) => (&rest[count.len()..], repeat(count, repeated, &mut out)?),
                None => {
                    out.push_str("\\{");
                    (behind, Repeated::No)
                }
            },
            '}' => {
                out.push_str("\\}");
                (behind, Repeated::No)
            }
            '(' if LOOKS.iter().any(|mark| rest.starts_with(mark)) => {
                return Err("look-around and extended syntax are not supported".to_owned());
            }
            _ => {
                out.push(first);
                (behind, Repeated::No)
            }
        };
    }
    Ok(out)
}

/// Groups that RE2 has not.
const LOOKS: &[&str] = &["(?=", "(?!", "(?<=", "(?<!", "(?>", "(?x", "(?#"];

/// A repetition behind another one is refused, but for one `?`.
fn repeat(written: &str, before: Repeated, out: &mut String) -> Result<Repeated, String> {
    let now = match (before, written) {
        (Repeated::No, _) => Repeated::Once,
        (Repeated::Once, "?") => Repeated::Lazy,
        _ => return Err(format!("`{written}` follows another repetition")),
    };
    out.push_str(written);
    Ok(now)
}

/// A class whose `[` is read; returns what follows its `]`.
fn class<'t>(text: &'t str, out: &mut String) -> Result<&'t str, String> {
    out.push('[');
    let mut rest = text;
    if let Some(behind) = rest.strip_prefix('^') {
        out.push('^');
        rest = behind;
    }
    if let Some(behind) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = behind;
    }
    while let Some(first) = rest.chars().next() {
        let behind = &rest[first.len_utf8()..];
        rest = match first {
            ']' => {
                out.push(']');
                return Ok(behind);
            }
            '\\' => escape(behind, out, Inside::Class)?,
            '[' => match rest.strip_prefix("[:").and_then(|rest| rest.find(":]")) {
                // `[:alpha:]` is a name.
                Some(end) => {
                    out.push_str(&rest[..end + 4]);
                    &rest[end + 4..]
                }
                None => {
                    out.push_str("\\[");
                    behind
                }
            },
            '&' | '~' => {
                out.extend(['\\', first]);
                behind
            }
            '-' if behind.starts_with('-') => {
                out.push_str("\\-");
                behind
            }
            _ => {
                out.push(first);
                behind
            }
        };
    }
    Err("a class is not closed".to_owned())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeated {
    No,
    Once,
    Lazy,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Class,
    Nothing,
}

/// `{2}`, `{2,}`, `{2,3}` at the start, within RE2's bound of 1000.
fn counted(text: &str) -> Option<&str> {
    let end = text.find('}')?;
    let (low, high) = text[1..end].split_once(',').unwrap_or((&text[1..end], ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    (!low.is_empty() && digits(low) && digits(high)).then(|| &text[..=end])
}

/// What follows a backslash; returns what follows that.
fn escape<'t>(text: &'t str, out: &mut String, inside: Inside) -> Result<&'t str, String> {
    let first = text.chars().next().ok_or_else(|| "it ends with a backslash".to_owned())?;
    let behind = &text[first.len_utf8()..];
    let class = match first {
        'd' => "[:digit:]",
        'D' => "[:^digit:]",
        'w' => "[:word:]",
        'W' => "[:^word:]",
        's' => "[:space:]",
        'S' => "[:^space:]",
        'b' if inside == Inside::Nothing => {
            out.push_str("(?-u:\\b)");
            return Ok(behind);
        }
        'Q' if inside == Inside::Nothing => {
            let end = behind.find("\\E");
            out.push_str(&regex::escape(&behind[..end.unwrap_or(behind.len())]));
            return Ok(end.map_or("", |end| &behind[end + 2..]));
        }
        '<' | '>' => {
            out.push(first);
            return Ok(behind);
        }
        _ => {
            out.extend(['\\', first]);
            return Ok(behind);
        }
    };
    match inside {
        Inside::Class => out.push_str(class),
        Inside::Nothing => out.extend(["[", class, "]"]),
    }
    Ok(behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_re2_accepts_and_matches() {
        let rows = [
            ("/api/{id}", "/api/{id}", true),
            ("a{2,3}", "aaa", true),
            (r"v\d+", "v12", true),
            (r"v\d+", "v\u{0661}", false),
            (r"\Qa.b\E.", "a.bx", true),
            (r"\Qa.b\E.", "axbx", false),
            ("[[a]+", "[a", true),
            (r"[\d.]+", "1.2", true),
            ("[^[:space:]]+", "ab", true),
            ("[]a]", "]", true),
            ("a*?b", "aab", true),
            ("(?i)ABC", "abc", true),
            ("x.y", "x\ny", false),
        ];
        for (pattern, text, expected) in rows {
            let regex = whole(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
            assert_eq!(regex.is_match(text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn what_re2_refuses() {
        for pattern in ["", "*", "[a", "(a", "a**", "a+*", "(?=a)", "a\\", "a{2,1}", "+a", "\\8"] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
        assert!(check(&"a".repeat(1025)).is_err());
    }

    proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in ".{0,40}") {
            let _ = check(&pattern);
        }

        #[test]
        fn a_quoted_text_matches_itself(text in "[ -~]{1,20}") {
            prop_assume!(!text.contains("\\E"));
            let pattern = format!("\\Q{text}\\E");
            prop_assert!(whole(&pattern).unwrap().is_match(text.as_bytes()));
        }
    }
}
