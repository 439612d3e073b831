//! What is remembered changes nothing: compiled again after any change, a bundle is as compiled for the first time.

#![allow(clippy::expect_used, reason = "this is a test")]

use proptest::prelude::*;
use weir_config::{Bundle, Compiler, Options, Problem, Text, compile};
use weir_policy::plan::Plan;

const START: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a }
spec:
  hosts: [a.test]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.1 }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: a }
spec:
  hosts: [a.test]
  http:
  - route: [{ destination: { host: a.test } }]
    timeout: 5s
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: a }
spec: { host: a.test, trafficPolicy: { connectionPool: { tcp: { maxConnections: 7 } } } }
";

fn bundle(texts: &[String]) -> Bundle {
    let texts = texts.iter().enumerate();
    let texts = texts.map(|(at, text)| Text { name: format!("{at}.yaml").into(), text: text.clone() });
    Bundle { texts: texts.collect(), options: Options::default() }
}

/// Everything that can be compared of a plan.
fn shown((plan, problems): &(Plan, Vec<Problem>)) -> String {
    let hosts: Vec<String> =
        plan.outbound.hosts().iter().map(|host| format!("{:?} {:?}", host.name, host.entries)).collect();
    format!("{:#?}\n{hosts:#?}\n{problems:#?}", plan.clusters)
}

/// A change of one text: bytes taken out and words put in.
fn changes() -> impl Strategy<Value = Vec<(usize, usize, usize, String)>> {
    let words =
        prop_oneof![Just("\n---\n".to_owned()), Just("\n".to_owned()), Just("9".to_owned()), "[a-z:{}\n -]{0,9}"];
    proptest::collection::vec((0usize..2, 0usize..700, 0usize..20, words), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn compiled_again_is_compiled_anew(changes in changes()) {
        let other = START.replace("a.test", "b.test").replace("name: a", "name: b");
        let mut texts = vec![START.to_owned(), other];
        let mut compiler = Compiler::default();
        for (which, at, length, new) in changes {
            let text = &mut texts[which];
            let at = at.min(text.len());
            text.replace_range(at..(at + length).min(text.len()), &new);
            let bundle = bundle(&texts);
            prop_assert_eq!(shown(&compiler.compile(&bundle)), shown(&compile(&bundle)));
        }
    }
}

#[test]
fn a_text_that_is_gone_is_forgotten() {
    let texts = vec![START.to_owned(), START.replace("a.test", "b.test").replace("name: a", "name: b")];
    let mut compiler = Compiler::default();
    assert_eq!(compiler.compile(&bundle(&texts)).0.clusters.len(), 2);
    assert_eq!(compiler.compile(&bundle(&texts[..1])).0.clusters.len(), 1);
    assert_eq!(compiler.compile(&bundle(&texts)).0.clusters.len(), 2);
}
