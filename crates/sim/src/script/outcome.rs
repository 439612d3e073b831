//! The words of a try's outcome: `503@5ms`, `closed/part`, `200@5ms~10ms`, `silence`.
//!
//! Does not: carry it out.

use crate::event::Reply;
use std::time::Duration;
use weir_policy::outcome::{Body, ConnectFailure, Interim, Reached, Response, Result as Ended};

/// What comes of a try, and how long after it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Try {
    pub after: Duration,
    /// `None`: nothing ever comes.
    pub reply: Option<Reply>,
}

impl Try {
    /// See the module.
    pub fn read(text: &str) -> Result<Self, String> {
        let (rest, tail) = timed(text, '~')?;
        let (rest, after) = timed(rest, '@')?;
        let mut parts = rest.split('/');
        let Some(mut reply) = reply(parts.next().unwrap_or_default())? else {
            return Ok(Self { after, reply: None });
        };
        reply.tail = tail;
        for part in parts {
            change(&mut reply, part)?;
        }
        Ok(Self { after, reply: Some(reply) })
    }
}

/// What stands before `mark`, and the length after it.
fn timed(text: &str, mark: char) -> Result<(&str, Duration), String> {
    match text.split_once(mark) {
        Some((rest, after)) => Ok((rest, length(after)?)),
        None => Ok((text, Duration::ZERO)),
    }
}

fn reply(word: &str) -> Result<Option<Reply>, String> {
    let connect = |why| Reply::of(Ended::ConnectFailed(why), Reached::Nothing);
    Ok(Some(match word {
        "connect-failure" => connect(ConnectFailure::Refused),
        "connect-timeout" => connect(ConnectFailure::TimedOut),
        "closed" => Reply::of(Ended::Closed, Reached::Whole),
        "reset" => Reply::of(Ended::Reset, Reached::Whole),
        "refused-stream" => Reply::of(Ended::RefusedStream, Reached::Nothing),
        "protocol" => Reply::of(Ended::Protocol, Reached::Whole),
        "overflow" => Reply::of(Ended::Overflow, Reached::Nothing),
        "exhausted" => Reply::of(Ended::Exhausted, Reached::Nothing),
        "idle" => Reply::of(Ended::Idle, Reached::Whole),
        "upload" => Reply::of(Ended::Upload, Reached::Part),
        "silence" => return Ok(None),
        status => match status.parse() {
            Ok(status) if (200..600).contains(&status) => Reply::status(status),
            _ => return Err(format!("{word}: neither a status nor a word for an outcome")),
        },
    }))
}

fn change(reply: &mut Reply, word: &str) -> Result<(), String> {
    match (word, &mut reply.result) {
        ("nothing", _) => reply.reached = Reached::Nothing,
        ("part", _) => reply.reached = Reached::Part,
        ("body-not-kept", _) => reply.body = Body::NotKept,
        ("interim", _) => reply.interim = Interim::Passed,
        ("ratelimited", Ended::Response(Response { ratelimited, .. })) => *ratelimited = true,
        ("marked", Ended::Response(Response { marked, .. })) => *marked = true,
        (word, Ended::Response(response)) if word.starts_with("grpc-") => {
            let code = word["grpc-".len()..].parse().map_err(|_| format!("/{word}: grpc-NUMBER"))?;
            response.grpc = Some(code);
            response.counted = weir_policy::outlier::status_of_grpc(code);
        }
        _ => return Err(format!("/{word}: not something to say of this outcome")),
    }
    Ok(())
}

/// `250ms`, `3s`, `2m`: whole milliseconds.
pub fn length(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("{text}: not a length such as 250ms"))?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    millis.filter(|millis| *millis <= 86_400_000).map(Duration::from_millis).ok_or(format!("{text}: ms, s or m"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_says_what_how_far_and_how_long() {
        let read = Try::read("503/ratelimited/interim@5ms~2s").expect("good");
        assert_eq!(read.after, Duration::from_millis(5));
        let reply = read.reply.expect("a reply");
        assert_eq!(reply.result, Ended::Response(Response { ratelimited: true, ..Response::plain(503) }));
        assert_eq!((reply.interim, reply.tail), (Interim::Passed, Duration::from_secs(2)));
        assert_eq!(Try::read("closed/part").expect("good").reply.expect("a reply").reached, Reached::Part);
        for wrong in ["", "99", "closed/ratelimited", "200@5", "200@ms", "closed/most", "200@99999999999s"] {
            assert!(Try::read(wrong).is_err(), "{wrong}");
        }
    }
}
