//! EnvoyFilter's subset: what patches change in the plan, and what is refused with its path.

#![allow(clippy::expect_used, reason = "this is a test")]

use std::time::Duration;
use weir_config::{Bundle, Code, Options, Problem, Text, compile};
use weir_policy::filter::Filter;
use weir_policy::plan::Plan;
use weir_policy::retry::Conditions;
use weir_policy::route::{Action, Route};

const MESH: &str = "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: app }
spec:
  hosts: [app.test]
  resolution: STATIC
  ports: [{ number: 80, name: http, protocol: HTTP }]
  endpoints: [{ address: 10.0.0.1 }]
";

fn compiled(patches: &str) -> (Plan, Vec<Problem>) {
    let filter = format!(
        "{MESH}---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{ name: it }}\nspec:\n  configPatches:\n{patches}"
    );
    let texts = vec![Text { name: "t.yaml".into(), text: filter.into() }];
    compile(&Bundle { texts, options: Options::default() })
}

fn route(plan: &Plan) -> &Route {
    let host = plan.outbound.hosts().iter().find(|host| &*host.name == "app.test").expect("the host");
    &host.entries[0].then
}

#[test]
fn the_jitter_patch_makes_503_and_504_retriable_with_its_back_off() {
    let (plan, problems) = compiled(
        "  - applyTo: HTTP_ROUTE
    match: { context: SIDECAR_OUTBOUND }
    patch:
      operation: MERGE
      value:
        route:
          retry_policy:
            retry_back_off: { base_interval: 1s, max_interval: 10s }
            host_selection_retry_max_attempts: 5
            retriable_status_codes: [503, 504]
",
    );
    assert_eq!(problems, []);
    let Action::Forward(forward) = &route(&plan).action else { panic!("it forwards") };
    let rules = forward.destinations[0].retry.as_ref().expect("retries");
    assert_eq!((rules.attempts, rules.picks, rules.codes.as_slice()), (2, 5, &[503, 504][..]));
    assert!(rules.on.has(Conditions::STATUS_CODES));
    let bounds: Vec<u64> = (1..=6).map(|number| rules.back_off.bound(number).as_secs()).collect();
    assert_eq!(bounds, [1, 2, 4, 8, 10, 10]);
}

#[test]
fn both_spellings_mean_the_same_and_a_typed_struct_too() {
    let filter = |value: &str| {
        compiled(&format!(
            "  - applyTo: HTTP_FILTER
    match: {{ context: ANY }}
    patch:
      operation: INSERT_FIRST
      value: {{ name: envoy.filters.http.local_ratelimit, {value} }}
"
        ))
    };
    let snake = "typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, \
                 token_bucket: { max_tokens: 3, tokens_per_fill: 2, fill_interval: 60s }, \
                 filter_enabled: { default_value: { numerator: 100 } }, filter_enforced: { default_value: { numerator: 100 } } }";
    let camel = "typedConfig: { \"@type\": type.googleapis.com/udpa.type.v1.TypedStruct, \
                 typeUrl: type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, \
                 value: { tokenBucket: { maxTokens: 3, tokensPerFill: 2, fillInterval: 60s }, \
                 filterEnabled: { defaultValue: { numerator: 100 } }, filterEnforced: { defaultValue: { numerator: 100 } } } }";
    let limits: Vec<_> = [snake, camel]
        .iter()
        .map(|value| {
            let (plan, problems) = filter(value);
            assert_eq!(problems, []);
            let [Filter::Limit(limit)] = route(&plan).chain.filters.as_slice() else { panic!("a limit") };
            assert_eq!(plan.limits.len(), 1);
            limit.rules.clone()
        })
        .collect();
    assert_eq!(limits[0], limits[1]);
    assert_eq!(&*limits[0].id, "default/it#0@outbound");
    assert_eq!(limits[0].fill.map(|fill| (fill.max, fill.interval)), Some((3, Duration::from_secs(60))));
}

#[test]
fn anything_else_is_an_error_that_names_the_path() {
    let refused = |patch: &str| {
        let (_, problems) = compiled(&format!("  - {patch}\n"));
        problems
            .into_iter()
            .filter(|problem| problem.code == Code::OutsideSubset)
            .map(|one| one.words)
            .collect::<Vec<_>>()
    };
    for (patch, path) in [
        ("{ applyTo: LISTENER, patch: { operation: MERGE, value: {} } }", "applyTo: LISTENER"),
        ("{ applyTo: CLUSTER, patch: { operation: REMOVE } }", "operation: REMOVE"),
        (
            "{ applyTo: HTTP_ROUTE, patch: { operation: MERGE, value: { route: { retry_policy: { hedging: 1 } } } } }",
            "HTTP_ROUTE.route.retry_policy.hedging",
        ),
        (
            "{ applyTo: CLUSTER, patch: { operation: MERGE, value: { outlier_detection: { success_rate_minimum_hosts: 3 } } } }",
            "CLUSTER.outlier_detection.success_rate_minimum_hosts",
        ),
        (
            "{ applyTo: HTTP_FILTER, patch: { operation: INSERT_FIRST, value: { name: lua, typed_config: { \"@type\": a/b.Lua } } } }",
            "HTTP_FILTER.typed_config",
        ),
    ] {
        let words = refused(patch);
        assert!(words.iter().any(|words| words.contains(path)), "{patch}: {words:?}");
    }
}
