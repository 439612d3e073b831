//! Kubernetes' services as the graph sees them: a host, its ports, who serves it.
//!
//! ```text
//!   Service name/namespace ─► name.namespace.svc.cluster.local
//!       ▲ Endpoints of that name      ▲ EndpointSlices that name it      ▲ WorkloadEntries that its selector selects
//! ```

use crate::decode::At;
use crate::kind::service::{Service, ServicePort, Serving, Target};
use crate::kind::service_entry::{Port, Resolution, ServiceEntry, Workload};
use crate::problem::{Code, Problem};
use std::collections::HashMap;
use std::sync::Arc;

/// The services, as entries of the graph.
pub fn entries(
    services: &[Arc<Service>],
    serving: &[Arc<Serving>],
    workloads: &[Workload],
    problems: &mut Vec<Problem>,
) -> Vec<ServiceEntry> {
    let mut of: HashMap<(&str, &str), Vec<&Serving>> =
        services.iter().map(|service| ((&*service.namespace, &*service.name), Vec::new())).collect();
    for one in serving {
        if let Some(known) = of.get_mut(&(&*one.namespace, &*one.service)) {
            known.push(one);
        } else {
            let words = format!("there is no Service `{}` in `{}`: nobody uses these", one.service, one.namespace);
            problems.push(Problem::new(Code::UnknownDestination, one.place.clone(), words).hint("add the Service"));
        }
    }
    let entries = services.iter().map(|service| {
        let serving = of.get(&(&*service.namespace, &*service.name)).map(Vec::as_slice);
        entry(Service::clone(service), serving.unwrap_or_default(), workloads)
    });
    entries.collect()
}

fn entry(service: Service, serving: &[&Serving], workloads: &[Workload]) -> ServiceEntry {
    let mut endpoints: Vec<Workload> = serving.iter().flat_map(|one| served(one, &service)).collect();
    if !service.selector.is_empty() {
        let selected = |workload: &&Workload| {
            workload.namespace == service.namespace
                && service.selector.iter().all(|label| workload.labels.contains(label))
        };
        endpoints.extend(workloads.iter().filter(selected).map(|workload| aimed(workload, &service.ports)));
    }
    let host = format!("{}.{}.svc.cluster.local", service.name, service.namespace);
    let resolution = if service.external.is_some() { Resolution::Dns } else { Resolution::Static };
    ServiceEntry {
        namespace: service.namespace,
        hosts: vec![At { value: host, place: service.place.clone() }],
        ports: service.ports.into_iter().map(port).collect(),
        resolution,
        endpoints,
        selector: None,
        // Their addresses are the cluster's: nothing here can be bound to them.
        listens: Vec::new(),
        export: service.export,
        place: service.place,
    }
}

fn port(written: ServicePort) -> Port {
    let target = match written.target {
        Some(Target::Number(number)) => Some(number),
        Some(Target::Name(_)) | None => None,
    };
    Port { number: written.number, name: written.name, protocol: written.protocol, target, place: written.place }
}

/// The addresses of a subset or slice. A port that it does not have is 0: not served there.
fn served<'s>(one: &'s Serving, service: &'s Service) -> impl Iterator<Item = Workload> + 's {
    let number =
        |port: &ServicePort| one.ports.iter().find(|(name, _)| *name == port.name).map_or(0, |(_, port)| *port);
    let ports: Vec<(String, u16)> = service.ports.iter().map(|port| (port.name.clone(), number(port))).collect();
    one.addresses.iter().map(move |address| Workload {
        namespace: one.namespace.clone(),
        address: At { value: address.ip.value.to_string(), place: address.ip.place.clone() },
        ip: Some(address.ip.value),
        ports: ports.clone(),
        labels: Vec::new(),
        weight: 1,
        name: address.workload.clone(),
    })
}

/// A workload whose named ports are what the service's `targetPort` names.
fn aimed(workload: &Workload, ports: &[ServicePort]) -> Workload {
    let mut out = workload.clone();
    for port in ports {
        if let Some(Target::Name(target)) = &port.target {
            let number = workload.ports.iter().find(|(name, _)| name == target).map_or(0, |(_, number)| *number);
            out.ports.retain(|(name, _)| *name != port.name);
            out.ports.push((port.name.clone(), number));
        }
    }
    out
}
