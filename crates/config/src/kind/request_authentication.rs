//! `RequestAuthentication`: which tokens are believed.

use super::policy;
use crate::decode::Object;
use crate::meta::Document;
use crate::names;
use crate::problem::Code;
use crate::url::{self, Form};
use crate::yaml::{self, Value};

/// Checks `RequestAuthentication.spec`.
pub fn check(spec: &Object<'_>, _: &Document<'_>) {
    policy::attachment(spec);
    spec.objects("jwtRules").for_each(|rule| jwt_rule(&rule));
}

fn jwt_rule(rule: &Object<'_>) {
    if rule.text("issuer").is_none_or(|issuer| issuer.value.is_empty()) {
        rule.missing("issuer");
    }
    for name in ["audiences", "fromParams", "fromCookies"] {
        if rule.texts(name).iter().any(|text| text.value.is_empty()) {
            rule.refuse(name, format!("`{name}` has an empty item"));
        }
    }
    let sources = rule.given(&["jwksUri", "jwks_uri", "jwks"]);
    if let Some(second) = sources.get(1) {
        let words = format!("`{}` and `{second}` exclude each other", sources[0]);
        rule.sink.add(rule.problem(Code::Conflict, second, words));
    }
    for name in ["jwksUri", "jwks_uri"] {
        if let Some(address) = rule.text(name).filter(|address| !address.value.is_empty()) {
            let scheme = url::scheme(&address.value, Form::Any);
            if !matches!(scheme.as_deref(), Some("http" | "https")) {
                rule.sink.refuse(&address.place, format!("`{name}: {}` is no http or https URL", address.value));
            }
        }
    }
    if let Some(keys) = rule.text("jwks").filter(|keys| !keys.value.is_empty() && !are_keys(&keys.value)) {
        rule.sink.refuse(&keys.place, "`jwks` is not a JSON Web Key Set");
    }
    for claim in rule.objects("outputClaimToHeaders") {
        let word = |name| claim.text(name).map(|text| text.value).unwrap_or_default();
        let header = word("header");
        if header.is_empty() || word("claim").is_empty() {
            claim.refuse("header", "`header` and `claim` cannot be empty");
        } else if !names::is_header_name(&header) {
            claim.refuse("header", format!("`{header}` is not a header's name"));
        }
    }
    rule.duration("timeout", std::time::Duration::from_millis(1));
}

/// A set `{"keys": […]}`, or one key `{"kty": …}`. JSON is YAML, so its reader serves.
fn are_keys(text: &str) -> bool {
    let mut problems = Vec::new();
    let nodes = yaml::read(&"jwks".into(), text, &mut problems);
    let [node] = nodes.as_slice() else { return false };
    let Value::Map(entries) = &node.value else { return false };
    let find = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| &node.value);
    let set = match find("keys") {
        Some(Value::List(_)) => true,
        Some(_) => false,
        None => find("kty").is_some(),
    };
    problems.is_empty() && text.trim_start().starts_with('{') && set
}
