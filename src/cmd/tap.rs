//! `weir tap`: requests of a running weir as they end, one line each.
//!
//! Does not: keep them.

use crate::args::{Shown, Tap};
use crate::cmd::explain::try_words;
use crate::local::{self, encoded};
use serde_json::Value as Json;
use std::fmt::Write;
use std::process::ExitCode;
use weir_policy::decision::Filter;

pub(crate) fn tap(args: &Tap) -> anyhow::Result<ExitCode> {
    // Said here, so that a mistake is not an answer of the running weir.
    args.filter.iter().try_fold(Filter::default(), |filter, words| filter.with(words)).map_err(anyhow::Error::msg)?;
    let mut path = format!("/api/v1/tap?filter={}", encoded(&args.filter.join(" ")));
    if let Some(max) = args.max {
        let _ = write!(path, "&max={max}");
    }
    let answer = local::get(args.at.admin, &path)?;
    if answer.status != 200 {
        let body = answer.json()?;
        eprintln!("weir: {}", body["error"].as_str().unwrap_or("the running weir refused"));
        return Ok(ExitCode::from(1));
    }
    for line in answer.lines()? {
        let line = line?;
        match args.at.format {
            Shown::Json => super::out(&(line + "\n")),
            Shown::Human => super::out(&words(&serde_json::from_str(&line)?)),
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn words(record: &Json) -> String {
    if let Some(count) = record["dropped"].as_u64() {
        return format!("({count} were lost so far: they came faster than they were read)\n");
    }
    let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
    let (request, outcome) = (&record["request"], &record["outcome"]);
    let mut out = format!(
        "{} {:<6} {} {}{}  {} ms  route {}  {}\n",
        outcome["status"],
        text(&outcome["flags"]),
        text(&request["method"]),
        text(&request["authority"]),
        text(&request["path"]),
        outcome["duration"],
        record["route"].as_str().unwrap_or("-"),
        text(&record["id"]),
    );
    let tries = record["tries"].as_array().map_or(&[][..], Vec::as_slice);
    if tries.len() > 1 || outcome["flags"] != "-" {
        for one in tries {
            let _ = writeln!(out, "    {}", try_words(one));
        }
    }
    out
}
