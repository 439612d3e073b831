//! The upper rungs: the proxy itself, with a plan of nearly nothing and with one of everything.

use std::net::SocketAddr;
use weir_config::{Bundle, Options as Words, Text};
use weir_policy::plan::{AccessLog, Plan};
use weir_proxy::{Ceilings, Handed, Handle, Options};

/// A service of one endpoint; retries off, nothing else written.
pub(crate) fn thin(backend: SocketAddr) -> (Plan, AccessLog) {
    let rule = "kind: VirtualService\nmetadata: { name: app }\nspec:\n  hosts: [app.test]\n  http:\n  - retries: { attempts: 0 }\n    route: [{ destination: { host: app.test } }]\n";
    (compiled(&format!("{}---\napiVersion: networking.istio.io/v1\n{rule}", service(backend))), AccessLog::Off)
}

/// Everything that `full.yaml` switches on.
pub(crate) fn full(backend: SocketAddr) -> (Plan, AccessLog) {
    (compiled(&format!("{}---\n{}", service(backend), include_str!("full.yaml"))), AccessLog::Json)
}

fn service(backend: SocketAddr) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{ name: app }}\nspec:\n  hosts: [app.test]\n  \
         resolution: STATIC\n  ports: [{{ number: 80, name: http, protocol: HTTP, targetPort: {} }}]\n  \
         endpoints: [{{ address: {} }}]\n",
        backend.port(),
        backend.ip()
    )
}

fn compiled(text: &str) -> Plan {
    let texts = vec![Text { name: "bench.yaml".into(), text: text.into() }];
    let (plan, problems) = weir_config::compile(&Bundle { texts, options: Words::default() });
    let errors: Vec<_> = problems.iter().filter(|problem| problem.severity == weir_config::Severity::Error).collect();
    assert!(errors.is_empty(), "{errors:?}");
    plan
}

/// Starts one worker; the handle keeps it running.
pub(crate) fn start((plan, log): (Plan, AccessLog)) -> (SocketAddr, Option<Handle>) {
    let options = Options {
        outbound: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        workers: 1,
        access_log: Some(log),
        name: "bench".to_owned(),
        namespace: "default".to_owned(),
        seed: 1,
        name_servers: Vec::new(),
        secrets: None,
        sample: 10_000,
        ceilings: Ceilings::default(),
    };
    let handle = weir_proxy::start(options, plan, &mut Handed::default()).expect("started");
    (handle.outbound().expect("on"), Some(handle))
}
