//! Tests of the reader: places, bounds, hostile texts.

use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> (Vec<Node>, Vec<Problem>) {
    let mut problems = Vec::new();
    let documents = read(&"t.yaml".into(), text, &mut problems);
    (documents, problems)
}

fn codes(text: &str) -> Vec<Code> {
    parse(text).1.into_iter().map(|problem| problem.code).collect()
}

/// Every scalar and key with its place.
fn scalars(node: &Node, seen: &mut Vec<(u32, u32, String)>) {
    match &node.value {
        Value::Scalar(text, _) => seen.push((node.line, node.column, text.clone())),
        Value::List(items) => items.iter().for_each(|item| scalars(item, seen)),
        Value::Map(entries) => {
            for (key, value) in entries {
                seen.push((key.line, key.column, key.text.clone()));
                scalars(value, seen);
            }
        }
    }
}

#[test]
fn documents_and_places() {
    let (documents, problems) = parse("a: 1\n---\n- b\n-   'c d'\n...\n---\nx: {y: z}\n");
    assert_eq!((documents.len(), problems.len()), (3, 0));
    let mut seen = Vec::new();
    documents.iter().for_each(|document| scalars(document, &mut seen));
    let expected = [(1, 1, "a"), (1, 4, "1"), (3, 3, "b"), (4, 5, "c d"), (7, 1, "x"), (7, 5, "y"), (7, 8, "z")];
    assert_eq!(seen, expected.map(|(line, column, text)| (line, column, text.to_owned())));
}

#[test]
fn hostile_texts_are_refused() {
    assert_eq!(codes("a: [1, 2"), [Code::Syntax]);
    assert_eq!(codes("a: 1\na: 2\n"), [Code::DuplicateKey]);
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(codes(&nested(64)), []);
    assert_eq!(codes(&nested(65)), [Code::Bounds]);
    // The scanner has a bound of its own, which this meets first.
    assert_eq!(codes(&nested(10_000)).len(), 1);
    assert_eq!(codes("a: &x [*x]\n"), [Code::Bounds]);
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..9 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![alias; 10].join(","));
    }
    assert_eq!(codes(&bomb), [Code::Bounds]);
    assert_eq!(codes("\u{feff}a: 1\n"), []);
    assert_eq!(codes(""), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_it_panic(text in "[ -~\n\t&*{}\\[\\]:,'\"|>-]{0,200}") {
        parse(&text);
    }

    /// The place of each plain scalar is where its text stands.
    #[test]
    fn places_point_at_the_text(keys in proptest::collection::vec("[a-z]{1,6}", 1..6), values in proptest::collection::vec("[a-z][a-z0-9]{0,8}", 6), indent in 1usize..5, gap in 1usize..4) {
        let mut text = String::new();
        for (index, key) in keys.iter().enumerate() {
            text += &format!("{key}{index}:\n{pad}in:{gap}{value}\n{pad}- skipped", pad = " ".repeat(indent), gap = " ".repeat(gap), value = values[index]);
            text.truncate(text.rfind('\n').map_or(0, |at| at + 1));
        }
        let (documents, problems) = parse(&text);
        prop_assert!(problems.is_empty(), "{problems:?}");
        let mut seen = Vec::new();
        documents.iter().for_each(|document| scalars(document, &mut seen));
        prop_assert_eq!(seen.len(), keys.len() * 3);
        let lines: Vec<&str> = text.lines().collect();
        for (line, column, scalar) in seen {
            let there = &lines[line as usize - 1][column as usize - 1..];
            prop_assert!(there.starts_with(&scalar), "{scalar} at {line}:{column}, there is {there}");
            prop_assert!(there.len() == scalar.len() || !there[scalar.len()..].starts_with(|c: char| c.is_ascii_alphanumeric()));
        }
    }
}
