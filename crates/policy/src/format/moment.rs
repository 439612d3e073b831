//! `%START_TIME(FORMAT)%`: a moment of the wall clock, as strftime writes it, in UTC.
//!
//! Does not: read the clock.

use super::Wrong;

/// A parsed format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment(Box<[Piece]>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(Box<str>),
    /// A letter behind `%`.
    Field(u8),
    /// `%Nf`: N digits of the second's fraction.
    Fraction(usize),
}

/// Without a format: `2026-11-25T02:23:20.761Z`.
const DEFAULT: &str = "%Y-%m-%dT%H:%M:%S.%3fZ";

const FIELDS: &[u8] = b"YmdHMSzZsaAbBejpIyTFDCuw";

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A day of the calendar.
struct Date {
    year: i64,
    /// From 1.
    month: i64,
    day: i64,
    /// From 1.
    of_year: i64,
    /// From 0, Sunday.
    of_week: usize,
}

impl Moment {
    pub(super) fn parse(format: &str) -> Result<Self, Wrong> {
        let format = if format.is_empty() { DEFAULT } else { format };
        let (mut pieces, mut plain) = (Vec::new(), String::new());
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let width = rest.bytes().next().filter(u8::is_ascii_digit);
            let letter = rest.as_bytes().get(usize::from(width.is_some())).copied().unwrap_or(0);
            let piece = match (width, letter) {
                (None, b'%') => {
                    plain.push('%');
                    rest = &rest[1..];
                    continue;
                }
                (None, b'f') => Piece::Fraction(9),
                (Some(width @ b'1'..=b'9'), b'f') => Piece::Fraction(usize::from(width - b'0')),
                (None, letter) if FIELDS.contains(&letter) => Piece::Field(letter),
                _ => return Err(Wrong::Argument(format!("`{format}` is not a format of time that weir knows").into())),
            };
            rest = &rest[usize::from(width.is_some()) + 1..];
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(piece);
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain.into()));
        Ok(Self(pieces.into()))
    }

    /// Writes a moment given in milliseconds since the epoch.
    pub fn write(&self, unix_millis: u64, out: &mut Vec<u8>) {
        let seconds = i64::try_from(unix_millis / 1000).unwrap_or(0);
        let date = Date::of(seconds.div_euclid(86_400));
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Field(letter) => field(*letter, &date, seconds, out),
                Piece::Fraction(digits) => {
                    let nanos = format!("{:09}", unix_millis % 1000 * 1_000_000);
                    out.extend_from_slice(&nanos.as_bytes()[..(*digits).min(9)]);
                }
            }
        }
    }
}

fn field(letter: u8, date: &Date, seconds: i64, out: &mut Vec<u8>) {
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let Date { year, month, day, .. } = *date;
    let (day_name, month_name) = (DAYS[date.of_week % 7], MONTHS[(month - 1).rem_euclid(12) as usize]);
    let text = match letter {
        b'Y' => year.to_string(),
        b'y' => format!("{:02}", year % 100),
        b'C' => format!("{:02}", year / 100),
        b'm' => format!("{month:02}"),
        b'd' => format!("{day:02}"),
        b'e' => format!("{day:2}"),
        b'j' => format!("{:03}", date.of_year),
        b'H' => format!("{hour:02}"),
        b'I' => format!("{:02}", (hour + 11) % 12 + 1),
        b'M' => format!("{minute:02}"),
        b'S' => format!("{second:02}"),
        b'p' => (if hour < 12 { "AM" } else { "PM" }).to_owned(),
        b'z' => "+0000".to_owned(),
        b'Z' => "UTC".to_owned(),
        b's' => seconds.to_string(),
        b'a' => day_name[..3].to_owned(),
        b'A' => day_name.to_owned(),
        b'b' => month_name[..3].to_owned(),
        b'B' => month_name.to_owned(),
        b'T' => format!("{hour:02}:{minute:02}:{second:02}"),
        b'F' => format!("{year}-{month:02}-{day:02}"),
        b'D' => format!("{month:02}/{day:02}/{:02}", year % 100),
        b'u' => (if date.of_week == 0 { 7 } else { date.of_week }).to_string(),
        b'w' => date.of_week.to_string(),
        _ => String::new(),
    };
    out.extend_from_slice(text.as_bytes());
}

impl Date {
    /// Of a day since the epoch, by the proleptic Gregorian calendar (Howard Hinnant's `civil_from_days`).
    fn of(days: i64) -> Self {
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        // The year begins in March there, so that a leap day is its last.
        let of_march = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_march + 2) / 153;
        let day = of_march - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let of_year = if month > 2 { of_march + 60 + i64::from(leap) } else { of_march - 305 };
        Self { year, month, day, of_year, of_week: (days + 4).rem_euclid(7) as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: &str, seconds: u64) -> String {
        let mut out = Vec::new();
        Moment::parse(format).expect("a format").write(seconds * 1000, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn days_of_the_calendar() {
        let rows = [
            (0, "1970-01-01 001 4 Thu"),
            (951_782_400, "2000-02-29 060 2 Tue"),
            (951_868_800, "2000-03-01 061 3 Wed"),
            (1_704_067_199, "2023-12-31 365 7 Sun"),
            (1_735_603_200, "2024-12-31 366 2 Tue"),
            (4_107_542_400, "2100-03-01 060 1 Mon"),
        ];
        for (seconds, expected) in rows {
            assert_eq!(written("%F %j %u %a", seconds), expected);
        }
        assert_eq!(written("%D %T %I%p %y%%", 1_735_603_200 + 13 * 3600), "12/31/24 13:00:00 01PM 24%");
    }
}
