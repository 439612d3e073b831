//! `weir proxy-config`: what a running weir believes: listeners, routes, clusters, endpoints.
//!
//! Does not: change anything.

use crate::args::{ProxyConfig, Shown, What};
use crate::local;
use anyhow::bail;
use serde_json::Value as Json;
use std::process::ExitCode;

pub(crate) fn proxy_config(args: &ProxyConfig) -> anyhow::Result<ExitCode> {
    let (name, columns): (_, &[&str]) = match args.what {
        What::Listeners => ("listeners", &["name", "port", "gateway", "hosts", "place"]),
        What::Routes => ("routes", &["listener", "host", "route", "match", "to", "place"]),
        What::Clusters => ("clusters", &["name", "endpoints", "place"]),
        What::Endpoints => ("endpoints", &["cluster", "address", "health", "ejectedFor", "active"]),
    };
    let answer = local::get(args.at.admin, &format!("/api/v1/{name}"))?;
    if answer.status != 200 {
        bail!("the running weir does not know /api/v1/{name}: is it an older one?");
    }
    let rows = answer.json()?;
    super::out(&match args.at.format {
        Shown::Json => format!("{rows:#}\n"),
        Shown::Human => table(&rows, columns),
    });
    Ok(ExitCode::SUCCESS)
}

fn table(rows: &Json, columns: &[&str]) -> String {
    let cells = |row: &Json| columns.iter().map(|column| cell(&row[*column])).collect::<Vec<_>>();
    let mut all = vec![columns.iter().map(|column| column.to_uppercase()).collect::<Vec<_>>()];
    all.extend(rows.as_array().map_or(&[][..], Vec::as_slice).iter().map(cells));
    let widths: Vec<usize> =
        (0..columns.len()).map(|column| all.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in all {
        let line: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        out += line.join("  ").trim_end();
        out.push('\n');
    }
    out
}

fn cell(value: &Json) -> String {
    match value {
        Json::Null => "-".to_owned(),
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
