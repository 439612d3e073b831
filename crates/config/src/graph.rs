//! Who points at whom: hosts to services, services to endpoints, in names that mean one thing.
//!
//! ```text
//!   user-service │ user-service.default │ ….svc │ ….svc.cluster.local  ─► one service
//!   app.test                                                            ─► itself
//! ```
//! Does not: know policies.

use crate::kind::service_entry::{Port, Resolution, ServiceEntry, Workload};
use crate::problem::{Code, Problem};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use weir_policy::discovery::{Discovery, Named};
use weir_policy::place::Place;
use weir_policy::plan::Endpoint;

/// A service with everything that serves it.
#[derive(PartialEq, Debug)]
pub struct Service {
    /// Its one name.
    pub canonical: String,
    /// As written in the ServiceEntry, lower case.
    pub host: String,
    pub namespace: String,
    pub ports: Vec<Port>,
    pub workloads: Vec<Workload>,
    pub resolution: Resolution,
    /// Addresses of this machine that stand for its ports that are not HTTP.
    pub listens: Vec<IpAddr>,
    pub place: Place,
}

/// All services, by every name they have.
#[derive(Clone, Default, Debug)]
pub struct Graph {
    pub services: Vec<Arc<Service>>,
    names: Arc<HashMap<String, usize>>,
}

const DOMAIN: &str = ".svc.cluster.local";

/// The one name of a host, seen from a namespace.
pub fn canonical(host: &str, namespace: &str) -> String {
    let host = host.to_ascii_lowercase();
    if let Some(short) = host.strip_suffix(DOMAIN) {
        return format!("{short}{DOMAIN}");
    }
    if host.ends_with(".svc") {
        return format!("{host}.cluster.local");
    }
    if host.contains('.') || host.starts_with('*') { host } else { format!("{host}.{namespace}{DOMAIN}") }
}

impl Graph {
    /// Services of entries, with the workloads that their selectors select.
    pub fn build(entries: Vec<ServiceEntry>, workloads: &[Workload], problems: &mut Vec<Problem>) -> Self {
        let mut graph = Self::default();
        for entry in entries {
            for service in services(entry, workloads) {
                graph.add(service, problems);
            }
        }
        graph
    }

    /// Puts the services of an entry in the place of those of an old one with the same hosts, as far as it had any.
    pub fn replace(&mut self, old: &ServiceEntry, entry: ServiceEntry, workloads: &[Workload]) {
        for (old, service) in old.hosts.iter().zip(services(entry, workloads)) {
            let found = self.named(&service.canonical).filter(|index| self.services[*index].place == old.place);
            if let Some(index) = found {
                self.services[index] = Arc::new(service);
            }
        }
    }

    fn add(&mut self, service: Service, problems: &mut Vec<Problem>) {
        if let Some(first) = self.names.get(&service.canonical) {
            let words = format!(
                "the service `{}` is defined at {} already: this one is ignored",
                service.host, self.services[*first].place
            );
            problems.push(Problem::new(Code::DuplicateResource, service.place, words).hint("merge the two"));
            return;
        }
        Arc::make_mut(&mut self.names).insert(service.canonical.clone(), self.services.len());
        self.services.push(Arc::new(service));
    }

    /// The service of that one name.
    pub fn named(&self, canonical: &str) -> Option<usize> {
        self.names.get(canonical).copied()
    }

    /// Does every name mean the same place in the list of services?
    pub fn same_names(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.names, &other.names) {
            return true;
        }
        let pairs = || self.services.iter().zip(&other.services);
        self.services.len() == other.services.len()
            && pairs().all(|(one, other)| one.host == other.host && one.namespace == other.namespace)
    }

    /// The service that a host means in a namespace.
    pub fn find(&self, host: &str, namespace: &str) -> Option<usize> {
        let name = canonical(host, namespace);
        if let Some(index) = self.names.get(&name) {
            return Some(*index);
        }
        // `user-service.default` means the mesh's, unless it is a host of its own.
        self.names.get(&format!("{name}{DOMAIN}")).copied()
    }
}

/// The services of an entry, with the workloads that it selects.
fn services(entry: ServiceEntry, workloads: &[Workload]) -> impl Iterator<Item = Service> {
    let ServiceEntry { namespace, hosts, ports, resolution, endpoints: mut members, selector, listens, .. } = entry;
    if let Some(selector) = selector {
        let chosen = workloads.iter().filter(|workload| {
            workload.namespace == namespace && selector.iter().all(|label| workload.labels.contains(label))
        });
        members.extend(chosen.cloned());
    }
    hosts.into_iter().map(move |host| Service {
        canonical: canonical(&host.value, &namespace),
        host: host.value.to_ascii_lowercase(),
        namespace: namespace.clone(),
        ports: ports.clone(),
        workloads: members.clone(),
        listens: listens.clone(),
        resolution,
        place: host.place,
    })
}

impl Service {
    /// Every name that a request may address it by, in the order of preference.
    pub fn aliases(&self, namespace: &str) -> Vec<String> {
        let Some(short) = self.canonical.strip_suffix(DOMAIN) else { return vec![self.host.clone()] };
        let mut names = vec![self.canonical.clone(), format!("{short}.svc"), short.to_owned()];
        if let Some(own) = short.strip_suffix(&format!(".{namespace}")) {
            names.push(own.to_owned());
        }
        names
    }

    /// The first label of a mesh service's name; a foreign host as it is.
    pub fn name(&self) -> String {
        match self.canonical.strip_suffix(DOMAIN) {
            Some(short) => short.split('.').next().unwrap_or(short).to_owned(),
            None => self.host.clone(),
        }
    }

    /// The endpoints of a port, of those that have the labels.
    pub fn endpoints(&self, port: &Port, labels: &[(String, String)]) -> Vec<Endpoint> {
        if matches!(self.resolution, Resolution::None | Resolution::OnDemand) {
            return Vec::new();
        }
        self.chosen(labels)
            .filter_map(|workload| {
                Some(Endpoint {
                    address: SocketAddr::new(workload.ip?, port_of(workload, port)?),
                    weight: workload.weight,
                    workload: Arc::from(workload.name.as_str()),
                    place: workload.address.place.clone(),
                })
            })
            .collect()
    }

    fn chosen(&self, labels: &[(String, String)]) -> impl Iterator<Item = &Workload> {
        self.workloads.iter().filter(|workload| labels.iter().all(|label| workload.labels.contains(label)))
    }

    /// The endpoints of a port that are given by name: those listed, or the host itself when none is.
    pub fn discovery(&self, port: &Port, labels: &[(String, String)]) -> Discovery {
        let name = |name: &str| Arc::from(name.trim_end_matches('.').to_ascii_lowercase());
        let mut names: Vec<Named> = self
            .chosen(labels)
            .filter(|workload| workload.ip.is_none())
            .filter_map(|workload| {
                Some(Named {
                    name: name(&workload.address.value),
                    port: port_of(workload, port)?,
                    weight: workload.weight,
                    workload: Arc::from(workload.name.as_str()),
                    place: workload.address.place.clone(),
                })
            })
            .collect();
        if self.workloads.is_empty() && labels.is_empty() && !self.host.starts_with('*') {
            let port = port.target.unwrap_or(port.number);
            let place = self.place.clone();
            names.push(Named { name: name(&self.host), port, weight: 1, workload: Arc::from(""), place });
        }
        match self.resolution {
            Resolution::Dns => Discovery::EveryAddress(names),
            Resolution::DnsRoundRobin => Discovery::FirstAddress(names),
            Resolution::Static => Discovery::Static,
            Resolution::None | Resolution::OnDemand => Discovery::OnDemand,
        }
    }
}

/// Where the workload serves the port; written as 0, it does not.
fn port_of(workload: &Workload, port: &Port) -> Option<u16> {
    let own = workload.ports.iter().find(|(name, _)| *name == port.name).map(|(_, number)| *number);
    Some(own.or(port.target).unwrap_or(port.number)).filter(|number| *number != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_names_are_one_service() {
        let names =
            ["user-service", "user-service.default.svc", "user-service.default.svc.cluster.local", "USER-service"];
        for name in names {
            assert_eq!(canonical(name, "default"), "user-service.default.svc.cluster.local");
        }
        assert_eq!(canonical("app.test", "default"), "app.test");
    }
}
