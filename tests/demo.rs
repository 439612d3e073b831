//! `weir demo`: its account is what /metrics says, its seed decides what fails, its documents are clean.

#![allow(clippy::expect_used, clippy::disallowed_methods, reason = "this is a test")]

mod common;

use common::{Client, signal};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A demo, and what it has told so far.
struct Demo {
    child: Child,
    out: BufReader<ChildStdout>,
    told: Vec<String>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        let mut child = command.arg("demo").args(arguments).stdout(Stdio::piped()).spawn().expect("weir starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, out, told: Vec::new() }
    }

    /// Reads on until a line that starts so; returns it.
    fn until(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            let count = self.out.read_line(&mut line).expect("text");
            assert!(count > 0, "no line starts with {start:?}: {:#?}", self.told);
            self.told.push(line.trim_end().to_owned());
            if line.trim_start().starts_with(start) {
                return line.trim().to_owned();
            }
        }
    }

    /// Callers' successes and failures in a part.
    fn row(&self, host: &str) -> (u32, u32) {
        let line = self.told.iter().find(|line| line.starts_with(host)).expect("a line about the part");
        let numbers: Vec<u32> = line[38..].split_whitespace().filter_map(|word| word.parse().ok()).collect();
        (numbers[0], numbers[1])
    }

    fn end(&mut self) {
        signal(self.child.id(), "INT");
        assert!(self.child.wait().expect("a child").success(), "Ctrl-C is no failure");
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn metrics(address: SocketAddr) -> String {
    let reply = Client::open(address).send("GET", "127.0.0.1", "/metrics", "connection: close\r\n");
    reply.expect("metrics").text()
}

/// `FAMILY` or `FAMILY{labels}`, summed over a service, by a parser of this test's own.
fn sum(metrics: &str, host: &str, selector: &str) -> u64 {
    let (family, labels) = selector.split_once('{').unwrap_or((selector, "}"));
    let mut wanted: BTreeMap<&str, &str> = pairs(labels.trim_end_matches('}'));
    wanted.insert("destination_service", host);
    let of = |line: &str| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{')?;
        let has = pairs(labels.trim_end_matches('}'));
        let is_one = name == family && wanted.iter().all(|(name, value)| has.get(name) == Some(value));
        is_one.then(|| value.parse::<u64>().expect("a whole number"))
    };
    metrics.lines().filter_map(of).sum()
}

fn pairs(labels: &str) -> BTreeMap<&str, &str> {
    labels.split(',').filter_map(|pair| pair.split_once('=')).map(|(n, v)| (n, v.trim_matches('"'))).collect()
}

#[test]
fn the_account_is_what_metrics_say_and_the_seed_decides_what_fails() {
    let began = Instant::now();
    let mut demo = Demo::start(&["--seed", "3"]);
    let (mut same, mut other) = (Demo::start(&["--once", "--seed", "3"]), Demo::start(&["--once", "--seed", "4"]));
    demo.until("plain.demo");
    assert!(began.elapsed() < Duration::from_secs(5), "the first result comes within 5 s");
    let address = demo.until("What the proxy counted");
    let address = address.split("http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    let heading = demo.told.len();
    demo.until("Try it yourself");
    let now = metrics(address.parse().expect("an address"));
    let (mut host, mut compared) = (String::new(), 0);
    for line in &demo.told[heading..] {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name, ..] if name.ends_with(".demo") => host = name.to_owned(),
            [number, .., selector] if selector.starts_with("istio_") => {
                let number: u64 = number.parse().expect("a number");
                assert_eq!(number, sum(&now, &host, selector), "{host}: {line}");
                compared += 1;
            }
            _ => {}
        }
    }
    assert_eq!(compared, 19, "every number was compared: {:#?}", demo.told);
    let file = demo.until("/");
    let check = Command::new(env!("CARGO_BIN_EXE_weir")).args(["check", "--deny", "warnings", &file]).output();
    let check = check.expect("weir runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    demo.end();
    assert!(!Path::new(&file).exists(), "nothing is left behind");
    for once in [&mut same, &mut other] {
        once.until("Of 90 requests");
        assert!(once.child.wait().expect("a child").success());
    }
    // The two parts in which nothing depends on the speed of this machine.
    let numbers = |demo: &Demo| ["plain.demo", "eject.demo"].map(|host| demo.row(host));
    assert_eq!(numbers(&demo), numbers(&same), "the same seed, the same failures");
    assert_ne!(numbers(&demo), numbers(&other), "another seed, other failures");
    assert!(demo.row("all.demo").1 < demo.row("plain.demo").1, "{:#?}", demo.told);
}

#[test]
fn an_unknown_demo_is_answered_with_those_there_are() {
    let demo = Command::new(env!("CARGO_BIN_EXE_weir")).args(["demo", "quikstart"]).output().expect("weir runs");
    let said = String::from_utf8_lossy(&demo.stderr);
    assert_eq!(demo.status.code(), Some(2));
    assert!(said.contains("[possible values: quickstart]") && said.contains("a similar value exists"), "{said}");
}
