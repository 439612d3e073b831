//! RateLimitPolicies and quotas: what becomes of them, and what is said of those that lead nowhere.

#![allow(clippy::expect_used, reason = "this is a test")]

use std::time::Duration;
use weir_config::{Bundle, Code, Options, Severity, Text, check};
use weir_policy::plan::Plan;
use weir_policy::rate::{How, Key, Part, Rules};
use weir_policy::route::Action;

const SERVICES: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: app }
spec:
  hosts: [app.test, other.test]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.1 }]
";

struct Compiled {
    plan: Plan,
    problems: Vec<(Code, String)>,
}

fn compile(documents: &str) -> Compiled {
    let texts = vec![Text { name: "t.yaml".into(), text: format!("{SERVICES}{documents}").into() }];
    let (plan, problems) = check(&Bundle { texts, options: Options::default() });
    let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let seldom = [Code::RemovedApi];
    let problems = problems.into_iter().filter(|problem| !seldom.contains(&problem.code));
    Compiled { plan, problems: problems.map(|problem| (problem.code, problem.words.to_string())).collect() }
}

fn policy(name: &str, target: &str, rules: &str) -> String {
    format!(
        "---\napiVersion: weir.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {{ name: {name} }}\nspec: {{ targetRefs: \
         [{target}], rules: [{rules}] }}\n"
    )
}

fn quota(kind: &str, spec: &str) -> String {
    format!("---\napiVersion: config.istio.io/v1alpha2\nkind: {kind}\nmetadata: {{ name: reads }}\nspec: {spec}\n")
}

/// The limits of requests to a host.
fn limits<'p>(plan: &'p Plan, host: &str) -> Vec<&'p Rules> {
    let host = plan.outbound.host(host.as_bytes()).expect("a host");
    let Action::Forward(forward) = &host.entries[0].then.action else { panic!("a route that forwards") };
    forward.destinations[0].rates.iter().map(|limit| &*limit.rules).collect()
}

#[test]
fn a_policy_is_for_its_target_only_and_its_rules_are_as_written() {
    let rules = "{ name: r, key: [{ header: X-Tenant }, { clientAddress: true }], limit: { requests: 7, per: 2s, burst: \
                 9 }, overrides: [{ key: [gold, '*'], limit: { requests: 70, per: 2s } }] }";
    let Compiled { plan, problems } = compile(&policy("p", "{ kind: Service, name: app.test }", rules));
    assert_eq!(problems, []);
    assert_eq!(limits(&plan, "other.test").len(), 0);
    let [rule] = limits(&plan, "app.test")[..] else { panic!("one rule") };
    assert_eq!((&*rule.id, rule.amount.requests, rule.amount.burst), ("default/p#r", 7, 9));
    assert_eq!(rule.key, [Part::Header("x-tenant".into()), Part::ClientAddress]);
    let [over] = &rule.overrides[..] else { panic!("one override") };
    assert!(over.fits(&Key::written(["gold", "10.0.0.1"])) && !over.fits(&Key::written(["tin", "10.0.0.1"])));
    assert_eq!(over.amount.burst, 70, "as many at once as there are in a time");
}

#[test]
fn targets_that_are_not_there_are_warned_of() {
    let rule = "{ limit: { requests: 1, per: 1s } }";
    let targets = [
        ("{ kind: Service, name: nowhere.test }", Code::UnknownDestination),
        ("{ kind: Service, name: app.test, port: 99 }", Code::UnknownDestination),
        ("{ kind: Route, name: app/nothing }", Code::UnknownDestination),
        ("{ kind: Gateway, name: nothing }", Code::UnknownGateway),
        ("{ kind: Workload, name: nothing }", Code::NotEnforced),
    ];
    for (target, code) in targets {
        let found: Vec<Code> = compile(&policy("p", target, rule)).problems.into_iter().map(|(code, _)| code).collect();
        assert_eq!(found, [code], "{target}");
    }
}

#[test]
fn what_can_never_pass_or_has_no_effect_is_warned_of() {
    let rules = [
        "{ limit: { requests: 3, per: 1s }, cost: { default: 4 } }",
        "{ limit: { requests: 3, per: 1s }, key: [{ method: true }], overrides: [{ key: [GET, POST], limit: { requests: 1, per: 1s } }] }",
        "{ limit: { requests: 3, per: 1s }, scope: service }",
        "{ limit: { requests: 3, per: 1s }, store: { redis: { url: \"redis://a\" } } }",
        "{ limit: { requests: 3, per: 1s }, key: [{ method: false }] }",
    ];
    for rule in rules {
        let found = compile(&policy("p", "{ kind: Service, name: app.test }", rule)).problems;
        assert!(matches!(found.as_slice(), [(Code::NoEffect, _)]), "{rule}: {found:?}");
    }
}

#[test]
fn a_quota_takes_its_amount_from_the_handler_and_none_is_made_up() {
    let spec = quota("QuotaSpec", "{ rules: [{ quotas: [{ charge: 3, quota: reads }] }] }");
    let binding = quota("QuotaSpecBinding", "{ quotaSpecs: [{ name: reads }], services: [{ name: app.test }] }");
    let without = compile(&format!("{spec}{binding}"));
    assert!(without.plan.rates.is_empty());
    assert!(matches!(without.problems.as_slice(), [(Code::QuotaWithoutAmount, _)]), "{:?}", without.problems);
    let amount = |more: &str| format!("{{ name: reads.instance.mixer, maxAmount: 12{more} }}");
    let memquota = quota("memquota", &format!("{{ quotas: [{}] }}", amount(", validDuration: 2s")));
    let Compiled { plan, problems } = compile(&format!("{spec}{binding}{memquota}"));
    assert_eq!(problems, []);
    let [rule] = limits(&plan, "app.test")[..] else { panic!("one quota") };
    assert_eq!((rule.amount.requests, rule.amount.per, rule.amount.how), (12, Duration::from_secs(2), How::Rolling));
    assert_eq!((rule.cost.default, rule.shared.is_none(), &*rule.id), (3, true, "default/reads#reads"));
    let timeless = quota("memquota", &format!("{{ quotas: [{}] }}", amount("")));
    let Compiled { plan, problems } = compile(&format!("{spec}{binding}{timeless}"));
    assert!(plan.rates.is_empty() && matches!(problems.as_slice(), [(Code::NoEffect, _)]), "{problems:?}");
    let redis = format!(
        "{{ compiledAdapter: redisquota, params: {{ redisServerUrl: 'r:1', quotas: [{}] }} }}",
        amount(", validDuration: 2s, rateLimitAlgorithm: ROLLING_WINDOW, bucketDuration: 100ms")
    );
    let Compiled { plan, .. } = compile(&format!("{spec}{binding}{}", quota("handler", &redis)));
    let shared = limits(&plan, "app.test")[0].shared.clone().expect("a store");
    assert_eq!((&*shared.url, shared.slice), ("r:1", Some(Duration::from_millis(100))));
}

#[test]
fn dimensions_are_the_key_and_choose_the_override() {
    let documents = quota(
        "QuotaSpec",
        "{ rules: [{ match: [{ clause: { request.path: { prefix: /x } } }], quotas: [{ quota: reads }] }] }",
    ) + &quota(
        "QuotaSpecBinding",
        "{ quotaSpecs: [{ name: reads }], services: [{ name: app.test }, { name: other.test }] }",
    ) + &quota(
        "memquota",
        "{ quotas: [{ name: reads, maxAmount: 5, validDuration: 1s, overrides: [{ dimensions: { destination: other.test }, \
             maxAmount: 1 }, { dimensions: { user: gold }, maxAmount: 50, validDuration: 9s }, { dimensions: { user: nobody \
             }, maxAmount: 2 }] }] }",
    ) + &quota(
        "instance",
        "{ compiledTemplate: quota, params: { dimensions: { user: 'request.headers[\"X-User\"] | \"nobody\"', \
             destination: 'destination.service.host | \"unknown\"', odd: 'context.protocol | \"http\"' } } }",
    );
    let Compiled { plan, problems } = compile(&documents);
    assert!(
        matches!(problems.as_slice(), [(Code::NotEnforced, words)] if words.contains("context.protocol")),
        "{problems:?}"
    );
    let [app] = limits(&plan, "app.test")[..] else { panic!("one quota") };
    assert_eq!(
        (app.key.as_slice(), app.when.len(), &*app.id),
        (&[Part::Header("x-user".into())][..], 1, "default/reads#reads@app.test")
    );
    let amounts: Vec<u32> = app.overrides.iter().map(|over| over.amount.requests).collect();
    assert_eq!(amounts, [50, 2], "the one for the other service is not here");
    assert!(app.overrides[1].fits(&Key::missing()));
    let [other] = limits(&plan, "other.test")[..] else { panic!("one quota") };
    assert_eq!(other.overrides.len(), 3);
}
