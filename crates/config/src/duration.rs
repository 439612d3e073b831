//! Go's durations: `250ms`, `1m30s`, `0.4s`.

use std::time::Duration;

/// Units, the longer spellings first.
const UNITS: [(&str, f64); 7] =
    [("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];

/// Durations of the resources end here; longer ones are surely mistakes (and Go ends at 292 years).
const LONGEST: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 100);

/// Parses a duration; `None` when it is none, is negative, or is longer than a hundred years.
pub fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let (unit, seconds) = UNITS.iter().find(|(unit, _)| behind.starts_with(unit))?;
        total = total.checked_add(part(number, *seconds)?)?;
        rest = &behind[unit.len()..];
    }
    (total <= LONGEST).then_some(total)
}

fn part(number: &str, seconds: f64) -> Option<Duration> {
    if number.len() > 18 || !number.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let nanos_per_unit = (seconds * 1e9).round() as u128;
    match number.split_once('.') {
        None => {
            let nanos = number.parse::<u128>().ok()?.checked_mul(nanos_per_unit)?;
            Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
        }
        Some((whole, fraction)) => {
            let whole = if whole.is_empty() { 0 } else { whole.parse::<u128>().ok()? };
            let scale = 10u128.checked_pow(fraction.len() as u32)?;
            let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().ok()? };
            let nanos = whole.checked_mul(nanos_per_unit)?.checked_add(fraction * nanos_per_unit / scale)?;
            Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
        }
    }
}

/// The shortest way to say it.
pub fn show(length: Duration) -> String {
    let nanos = length.as_nanos();
    match nanos {
        0 => "0s".to_owned(),
        _ if nanos.is_multiple_of(1_000_000_000) => format!("{}s", nanos / 1_000_000_000),
        _ if nanos.is_multiple_of(1_000_000) => format!("{}ms", nanos / 1_000_000),
        _ if nanos.is_multiple_of(1_000) => format!("{}us", nanos / 1_000),
        _ => format!("{nanos}ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_go_reads_them() {
        let rows = [
            ("250ms", 250),
            ("1m30s", 90_000),
            ("0.4s", 400),
            ("1.5h", 5_400_000),
            ("0s", 0),
            ("0", 0),
            (".5s", 500),
            ("2.s", 2000),
        ];
        for (text, millis) in rows {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1x", "1s ", "1 s", ".s", "1.2.3s", "999999999999h", "1sms"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn shown_and_read_again_it_is_the_same(nanos in 0u64..1_000_000_000_000_000) {
            let length = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&show(length)), Some(length));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,24}") {
            let _ = parse(&text);
        }
    }
}
