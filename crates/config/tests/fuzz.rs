//! The YAML reader under made-up trees and random texts: what was written is read, where it stands; never a panic.
//! `WEIR_FUZZ_CASES` sets how many.

#![allow(clippy::expect_used, reason = "this is a test")]

use proptest::prelude::*;
use std::fmt::Write;
use weir_config::yaml::{Key, Node, Style, Value, read};
use weir_config::{Bundle, Code, Options, Problem, Text};

fn cases() -> ProptestConfig {
    let cases = std::env::var("WEIR_FUZZ_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(1_000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn parse(text: &str) -> (Vec<Node>, Vec<Problem>) {
    let mut problems = Vec::new();
    let documents = read(&"t.yaml".into(), text, &mut problems);
    (documents, problems)
}

/// A tree to be written down.
#[derive(Clone, Debug)]
enum Tree {
    Plain(String),
    Quoted(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf =
        prop_oneof!["[a-z][a-z0-9./-]{0,9}".prop_map(Tree::Plain), "[ -!#-\\[\\]-~]{0,9}".prop_map(Tree::Quoted)];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let keyed = prop::collection::vec(("[a-z]{1,6}", inner.clone()), 1..5).prop_map(|entries| {
            let numbered = entries.into_iter().enumerate().map(|(index, (key, tree))| (format!("{key}{index}"), tree));
            Tree::Map(numbered.collect())
        });
        prop_oneof![prop::collection::vec(inner, 1..5).prop_map(Tree::List), keyed]
    })
}

/// Writes a tree in block form at an indent and says which nodes must be read, with their places.
struct Writer {
    out: String,
    step: usize,
}

impl Writer {
    fn place(&self) -> (u32, u32) {
        let line = self.out.matches('\n').count() as u32 + 1;
        let column = self.out.chars().rev().take_while(|c| *c != '\n').count() as u32 + 1;
        (line, column)
    }

    fn node(&self, (line, column): (u32, u32), value: Value) -> Node {
        Node { line, column, value }
    }

    /// The cursor stands where the value may begin; block collections begin on a line of their own unless `inline`.
    fn write(&mut self, tree: &Tree, indent: usize) -> Node {
        match tree {
            Tree::Plain(text) => {
                let place = self.place();
                let _ = writeln!(self.out, "{text}");
                self.node(place, Value::Scalar(text.clone(), Style::Plain))
            }
            Tree::Quoted(text) => {
                let place = self.place();
                let _ = writeln!(self.out, "\"{text}\"");
                self.node(place, Value::Scalar(text.clone(), Style::Quoted))
            }
            Tree::List(items) => self.list(items, indent),
            Tree::Map(entries) => self.map(entries, indent),
        }
    }

    fn begin(&mut self, indent: usize) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        let _ = write!(self.out, "{:indent$}", "");
    }

    fn list(&mut self, items: &[Tree], indent: usize) -> Node {
        let (mut nodes, mut first) = (Vec::new(), None);
        for item in items {
            self.begin(indent);
            first = first.or(Some(self.place()));
            self.out.push_str("- ");
            nodes.push(self.write(item, indent + self.step + 1));
        }
        self.node(first.expect("an item"), Value::List(nodes))
    }

    fn map(&mut self, entries: &[(String, Tree)], indent: usize) -> Node {
        let (mut read, mut first) = (Vec::new(), None);
        for (key, tree) in entries {
            self.begin(indent);
            let place = self.place();
            first = first.or(Some(place));
            let _ = write!(self.out, "{key}: ");
            let value = self.write(tree, indent + self.step);
            read.push((Key { line: place.0, column: place.1, text: key.clone() }, value));
        }
        self.node(first.expect("an entry"), Value::Map(read))
    }
}

/// Pieces that documents are made of, and things that look like them.
fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "apiVersion: networking.istio.io/v1\n", "kind: VirtualService\n", "kind: DestinationRule\n", "kind: ServiceEntry\n",
            "metadata: { name: a }\n", "spec:\n", "  hosts: [a.test]\n", "  host: a.test\n", "  http:\n", "  - route:\n",
            "    - destination: { host: a.test }\n", "    timeout: 5s\n", "    retries: { attempts: 2, retryOn: 5xx }\n", "---\n",
            "...\n", "  ports: [{ number: 80, name: http, protocol: HTTP }]\n", "  resolution: STATIC\n",
            "  endpoints: [{ address: 127.0.0.1 }]\n", "  trafficPolicy: { outlierDetection: {} }\n", "- ", "  ", ": ", "&a ", "*a", "!!str ",
            "{", "}", "[", "]", "|\n", ">\n", "\"", "'", "#", "? ", "\t", "%YAML 1.2\n", "0x1f", "~", "-1", "1e9", "\n",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,4}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn what_is_written_is_read_where_it_stands(tree in trees(), step in 1usize..4) {
        let mut writer = Writer { out: String::new(), step };
        let expected = writer.write(&tree, 0);
        let (documents, problems) = parse(&writer.out);
        prop_assert!(problems.is_empty(), "{problems:?} in\n{}", writer.out);
        prop_assert_eq!(documents, vec![expected], "{}", writer.out);
    }

    #[test]
    fn sixty_four_levels_and_no_more(levels in 60usize..70, flow: bool) {
        let text = if flow {
            format!("{}{}", "[".repeat(levels), "]".repeat(levels))
        } else {
            (0..levels).map(|level| format!("{:level$}a:\n", "")).collect()
        };
        let refused = parse(&text).1.iter().any(|problem| problem.code == Code::Bounds);
        prop_assert_eq!(refused, levels > 64);
    }

    #[test]
    fn a_key_given_twice_is_told_wherever_it_stands(before in 0usize..48, between in 0usize..48) {
        let others = |from: usize, count: usize| (from..from + count).map(|key| format!("k{key}: v\n")).collect::<String>();
        let text = format!("{}twice: a\n{}twice: b\n", others(0, before), others(100, between));
        let problems = parse(&text).1;
        let places: Vec<_> = problems.iter().map(|problem| (problem.code, problem.place.line as usize)).collect();
        prop_assert_eq!(places, vec![(Code::DuplicateKey, before + between + 2)]);
    }

    #[test]
    fn any_text_compiles_or_has_problems_with_places(text in texts()) {
        let lines = text.lines().count() as u32 + 1;
        let bundle = Bundle { texts: vec![Text { name: "t.yaml".into(), text: text.into() }], options: Options::default() };
        for problem in weir_config::compile(&bundle).1 {
            prop_assert!(problem.place.line <= lines, "{problem:?}");
        }
    }
}
