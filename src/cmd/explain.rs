//! `weir explain`: what a request would meet, by documents or by a running weir; or what a real one met.
//!
//! Does not: explain by itself: `weir_control::explain` does, here or behind the admin address.

mod human;

use crate::args::{Explain, Shown};
use crate::cmd::check::print;
use crate::local::{self, encoded};
use anyhow::bail;
pub(crate) use human::try_words;
use serde_json::Value as Json;
use std::process::ExitCode;
use weir_config::{Bundle, Severity, compile};
use weir_control::explain::{Ask, explained};
use weir_control::source;

pub(crate) fn explain(args: &Explain) -> anyhow::Result<ExitCode> {
    let found = match (&args.request, &args.url) {
        (Some(id), _) => asked(args, &format!("/api/v1/requests/{}", encoded(id)))?,
        (None, Some(url)) if args.files.is_empty() => asked(args, &path(args, url))?,
        (None, Some(url)) => by_documents(args, url)?,
        (None, None) => bail!("which request? Give a URL or --request ID"),
    };
    let Some(explanation) = found else { return Ok(ExitCode::from(1)) };
    let text = match args.at.format {
        Shown::Json => format!("{explanation:#}\n"),
        Shown::Human => human::shown(&explanation),
    };
    super::out(&text);
    Ok(ExitCode::SUCCESS)
}

fn path(args: &Explain, url: &str) -> String {
    let mut path = format!("/api/v1/explain?url={}&method={}&from={}", encoded(url), encoded(&args.method), args.from);
    for header in &args.header {
        path += &format!("&header={}", encoded(header));
    }
    if let Some(port) = args.gateway {
        path += &format!("&gateway={port}");
    }
    path
}

/// The running weir's answer; `None` (and its words on stderr) when it has none.
fn asked(args: &Explain, path: &str) -> anyhow::Result<Option<Json>> {
    let answer = local::get(args.at.admin, path)?;
    let status = answer.status;
    let body = answer.json()?;
    if status == 200 {
        return Ok(Some(body));
    }
    for name in ["error", "hint"] {
        if let Some(words) = body[name].as_str() {
            eprintln!("weir: {words}");
        }
    }
    Ok(None)
}

fn by_documents(args: &Explain, url: &str) -> anyhow::Result<Option<Json>> {
    let mut ask = Ask::new(url, &args.method, &args.header).map_err(|why| anyhow::anyhow!(why))?;
    ask.gateway = args.gateway;
    ask.from = args.from;
    let (texts, unreadable) = source::read(&args.files);
    if let Some(problem) = unreadable.first() {
        bail!("{}", problem.words);
    }
    let bundle = Bundle { texts, options: args.documents.options() };
    let (plan, problems) = compile(&bundle);
    let errors: Vec<_> = problems.into_iter().filter(|problem| problem.severity == Severity::Error).collect();
    if !errors.is_empty() {
        print(&errors, &bundle.texts);
        bail!("the documents have errors: there is no plan to explain");
    }
    Ok(Some(explained(&plan, &ask, None)))
}
