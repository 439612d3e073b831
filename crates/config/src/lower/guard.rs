//! Gateways behind a security policy that is not enforced yet stay closed: never open by omission.
//!
//! ```text
//!   AuthorizationPolicy, RequestAuthentication ─► their namespace (istio-system: all), their labels ─► Gateway: no servers
//! ```

use crate::bundle::Options;
use crate::kind::gateway::Gateway;
use crate::kind::policy::Guard;
use crate::problem::{Code, Problem};
use std::sync::Arc;

/// The namespace whose policies are everybody's.
const ROOT: &str = "istio-system";

/// Closes the Gateways that a policy guards.
pub fn close(
    mut gateways: Vec<Gateway>,
    guards: &[Arc<Guard>],
    options: &Options,
    problems: &mut Vec<Problem>,
) -> Vec<Gateway> {
    for gateway in gateways.iter_mut().filter(|gateway| !gateway.servers.is_empty()) {
        let Some(guard) = guards.iter().find(|guard| guards_it(guard, gateway, options)) else { continue };
        let words = format!(
            "the {} at {} is for this Gateway and not enforced yet: its ports stay closed",
            guard.kind, guard.place
        );
        let place = gateway.servers[0].place.clone();
        problems.push(Problem::new(Code::PortClosed, place, words).hint("remove the policy, if its ports may be open"));
        gateway.servers.clear();
    }
    gateways
}

fn guards_it(guard: &Guard, gateway: &Gateway, options: &Options) -> bool {
    let near = guard.namespace == gateway.namespace || guard.namespace == ROOT;
    near && guard.selector.iter().all(|label| gateway.selector.contains(label) || options.labels.contains(label))
}
