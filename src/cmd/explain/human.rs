//! An explanation for a person: from the listener down to each value and the line it comes from.
//!
//! Does not: know how the explanation came about: it reads the JSON that everybody gets.

use serde_json::Value as Json;
use std::fmt::Write;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// The text; its colours are taken out again where they are not wanted.
pub(super) fn shown(all: &Json) -> String {
    let mut out = String::new();
    head(&mut out, all);
    rules(&mut out, all);
    if let Some(why) = all["refusal"]["reason"].as_str() {
        let status = all["refusal"]["status"].as_u64().map(|status| format!(" {status}")).unwrap_or_default();
        line(&mut out, &format!("  {:<10} {RED}refused:{status} {why}{PLAIN}", "answer"));
    }
    limits(&mut out, all);
    tries(&mut out, all);
    let several = all["destinations"].as_array().map_or(0, Vec::len) > 1;
    let mut first: Option<&Json> = None;
    for (index, destination) in array(&all["destinations"]).iter().enumerate() {
        let chosen = all["chosen"].as_u64() == Some(index as u64);
        destination_of(&mut out, destination, if several && chosen { ", chosen by its weight" } else { "" });
        values_of(&mut out, destination, first);
        first = first.or(Some(destination));
    }
    for mirror in array(&all["mirrors"]) {
        let share = percent(&mirror["share"]);
        let (name, place) = (text(&mirror["cluster"]), text(&mirror["place"]));
        line(&mut out, &format!("\n{BOLD}{name}{PLAIN}  gets copies of {share} % of requests  {DIM}{place}{PLAIN}"));
    }
    table(&mut out, "the rule", array(&all["route"]["values"]).iter().collect());
    table(&mut out, "every request (Mesh)", array(&all["settings"]).iter().collect());
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

fn array(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_default()
}

fn head(out: &mut String, all: &Json) {
    let request = &all["request"];
    let query = request["query"].as_str().map(|query| format!("?{query}")).unwrap_or_default();
    let url =
        format!("{} http://{}{}{query}", text(&request["method"]), text(&request["authority"]), text(&request["path"]));
    line(out, &format!("{BOLD}{url}{PLAIN}"));
    if let Some(id) = all["id"].as_str() {
        line(out, &format!("  {:<10} {id}", "request"));
    }
    if !text(&all["version"]).is_empty() {
        line(out, &format!("  {:<10} {}", "version", text(&all["version"])));
    }
    outcome(out, &all["outcome"]);
    let listener = &all["listener"];
    let port = listener["port"].as_u64().map(|port| format!(" {port}")).unwrap_or_default();
    let gateway = listener["gateway"].as_str().map(|name| format!("  {name}")).unwrap_or_default();
    let place = listener["place"].as_str().map(|place| format!("  {DIM}{place}{PLAIN}")).unwrap_or_default();
    line(out, &format!("  {:<10} {}{port}{gateway}{place}", "listener", text(&listener["name"])));
    line(out, &format!("  {:<10} {}", "host", all["host"].as_str().unwrap_or("(known nowhere)")));
}

fn outcome(out: &mut String, outcome: &Json) {
    let Some(status) = outcome["status"].as_u64() else { return };
    let status = if status == 0 { "no answer".to_owned() } else { status.to_string() };
    let mut words = format!("{status} {}", text(&outcome["details"]));
    for (name, empty) in [("flags", "-"), ("reason", "")] {
        if outcome[name].as_str().is_some_and(|value| value != empty) {
            let _ = write!(words, ", {name} {RED}{}{PLAIN}", text(&outcome[name]));
        }
    }
    line(out, &format!("  {:<10} {words}, {} ms, kept as {}", "answer", outcome["duration"], text(&outcome["kept"])));
}

/// The rules that were asked before, and the one that matches.
fn rules(out: &mut String, all: &Json) {
    let mut rows: Vec<[String; 3]> = Vec::new();
    for earlier in array(&all["earlier"]) {
        let unmet = earlier["unmet"].as_str().map(|unmet| format!("no: it asks that {unmet}")).unwrap_or_default();
        rows.push([text(&earlier["route"]).to_owned(), text(&earlier["place"]).to_owned(), unmet]);
    }
    if let Some(name) = all["route"]["name"].as_str() {
        let verdict = format!("{BOLD}matches{PLAIN}");
        rows.push([name.to_owned(), text(&all["route"]["place"]).to_owned(), verdict]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let (first, second) = (width(0), width(1));
    for (index, [name, place, verdict]) in rows.iter().enumerate() {
        let label = if index == 0 { "rules" } else { "" };
        line(out, &format!("  {label:<10} {name:<first$}  {DIM}{place:<second$}{PLAIN}  {verdict}"));
    }
}

/// What a fault drew for a request, and what limits said of it.
fn limits(out: &mut String, all: &Json) {
    if let Some(delay) = all["delayed"].as_f64() {
        line(out, &format!("  {:<10} drew a delay of {delay} ms", "fault"));
    }
    if let Some(limit) = all["limited"].as_str() {
        line(out, &format!("  {:<10} {limit} refused", "limit"));
    }
    for row in array(&all["limits"]) {
        let mut words = format!("  {:<10} {} {}", "limit", text(&row["limit"]), text(&row["said"]));
        if let Some(remaining) = row["remaining"].as_u64() {
            let _ = write!(words, ", {remaining} of {} left", row["most"]);
        }
        if row["reset"].as_f64() > Some(0.0) {
            let _ = write!(words, ", more in {} ms", row["reset"]);
        }
        if text(&row["mode"]) == "shadow" {
            words.push_str(", shadow");
        }
        line(out, &format!("{words}  {DIM}key {}, cost {}{PLAIN}", text(&row["key"]), row["cost"]));
    }
}

fn tries(out: &mut String, all: &Json) {
    let rows = array(&all["tries"]);
    if rows.is_empty() {
        return;
    }
    line(out, &format!("\n{BOLD}tries{PLAIN}"));
    for row in rows {
        line(out, &format!("  {}", try_words(row)));
    }
    if let Some(left_out) = all["leftOut"].as_u64().filter(|count| *count > 0) {
        line(out, &format!("  ({left_out} in the middle were not kept)"));
    }
}

/// One try in one line.
pub(crate) fn try_words(row: &Json) -> String {
    let mut words = format!("{} {:<21} at {} ms", row["number"], text(&row["address"]), row["at"]);
    let Some(result) = row["result"].as_str() else { return words + ", broken off" };
    let _ = write!(words, ", took {} ms: {result}", row["took"]);
    if text(&row["sent"]) != "all" {
        let _ = write!(words, ", sent {}", text(&row["sent"]));
    }
    let (then, no) = (&row["then"], row["then"]["no"].as_str());
    match text(&then["word"]) {
        "again" => drop(write!(words, " -> again after {} ms", then["wait"])),
        "refused" => drop(write!(words, " -> refused: {}", text(&then["reason"]))),
        _ => words.push_str(" -> answered"),
    }
    if let Some(no) = no {
        let _ = write!(words, ", not again: {no}");
    }
    let now = &row["inflight"];
    let _ = write!(words, " (under way {}, retries {}, waiting {}", now["requests"], now["retries"], now["pending"]);
    if row["budget"]["firsts"].as_u64() > Some(0) {
        let _ =
            write!(words, "; last 10 s: {} first tries, {} retries", row["budget"]["firsts"], row["budget"]["retries"]);
    }
    words.push(')');
    words
}

/// A share in percent, to the hundredth.
fn percent(share: &Json) -> f64 {
    (share.as_f64().unwrap_or_default() * 10_000.0).round() / 100.0
}

fn destination_of(out: &mut String, destination: &Json, chosen: &str) {
    let name = destination["cluster"].as_str().unwrap_or("(nowhere)");
    let share = percent(&destination["share"]);
    let place = text(&destination["place"]);
    line(out, &format!("\n{BOLD}{name}{PLAIN}  {share} % of requests{chosen}  {DIM}{place}{PLAIN}"));
    if let Some(why) = destination["refusal"].as_str() {
        line(out, &format!("  {RED}refused: {why}{PLAIN}"));
    }
    let tries = &destination["worst"]["tries"];
    let time = destination["worst"]["time"].as_str().unwrap_or("as long as the upstream takes: no timeout ends it");
    line(out, &format!("  worst case: {tries} tries, {time}"));
    for endpoint in array(&destination["endpoints"]) {
        let mut words = format!("  endpoint   {:<21} weight {}", text(&endpoint["address"]), endpoint["weight"]);
        if let Some(health) = endpoint["health"].as_str() {
            let _ = write!(words, "  {health}");
        }
        if let Some(left) = endpoint["ejectedFor"].as_str() {
            let _ = write!(words, " for {left} more");
        }
        if let Some(active) = endpoint["active"].as_u64() {
            let _ = write!(words, ", {active} under way");
        }
        line(out, &format!("{words}  {DIM}{}{PLAIN}", text(&endpoint["place"])));
    }
}

/// The values of a destination; of another one of the same rule only where it differs from the first.
fn values_of(out: &mut String, destination: &Json, first: Option<&Json>) {
    let all = |of: &'_ Json| {
        let lists = ["values", "clusterValues"].map(|name| array(&of[name]).to_vec());
        lists.concat()
    };
    let own = all(destination);
    let known = first.map(all).unwrap_or_default();
    let differing: Vec<&Json> = own.iter().filter(|value| !known.contains(value)).collect();
    let same = own.len() - differing.len();
    table(out, "", differing);
    if same > 0 {
        line(out, &format!("  {DIM}the other {same} values are those of the destination above{PLAIN}"));
    }
}

/// Values in columns; what nobody wrote is dimmed.
fn table(out: &mut String, title: &str, rows: Vec<&Json>) {
    if rows.is_empty() {
        return;
    }
    if !title.is_empty() {
        line(out, &format!("\n{BOLD}{title}{PLAIN}"));
    }
    let width = |name: &str, most: usize| rows.iter().map(|row| text(&row[name]).len()).max().unwrap_or(0).min(most);
    let (names, values, sources) = (width("name", 60), width("value", 44), width("from", 20));
    for row in rows {
        let [name, value, from, place] = ["name", "value", "from", "place"].map(|column| text(&row[column]));
        let (on, off) = if from == "built-in" { (DIM, PLAIN) } else { ("", "") };
        let cells = format!("{name:<names$}  {value:<values$}  {from:<sources$}  {place}");
        line(out, &format!("  {on}{}{off}", cells.trim_end()));
    }
}
