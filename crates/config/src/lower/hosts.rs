//! The virtual hosts of a listener, put together from the documents that name them.
//!
//! ```text
//!   one document ───► its virtual host as it is, shared with earlier plans
//!   several ────────► a new one: their rules in order, those without conditions last
//! ```

use super::memory::{Hosted, Lowered};
use crate::problem::{Code, Problem};
use std::collections::HashMap;
use std::sync::Arc;
use weir_policy::place::Place;
use weir_policy::route::{Named, Table, VirtualHost};

/// See the module.
pub struct Hosts<'l> {
    hosts: Vec<Host<'l>>,
    /// By key.
    known: HashMap<&'l str, usize>,
}

struct Host<'l> {
    named: Named,
    open: &'l [bool],
    first: Option<&'l Place>,
    /// Of further documents.
    more: Vec<Part<'l>>,
}

struct Part<'l> {
    host: &'l VirtualHost,
    open: &'l [bool],
}

impl<'l> Hosts<'l> {
    /// Those of all VirtualServices, in order.
    pub fn of(lowered: &'l [Lowered], problems: &mut Vec<Problem>) -> Self {
        let (hosts, known) = (Vec::with_capacity(lowered.len()), HashMap::with_capacity(lowered.len()));
        let mut out = Self { hosts, known };
        for one in lowered {
            problems.extend_from_slice(&one.problems);
            for hosted in &one.hosts {
                out.add(one, hosted, problems);
            }
        }
        out
    }

    fn add(&mut self, of: &'l Lowered, hosted: &'l Hosted, problems: &mut Vec<Problem>) {
        let host = &of.of.hosts[hosted.at];
        let Some(index) = self.known.get(&*hosted.key) else {
            self.known.insert(&hosted.key, self.hosts.len());
            let (named, first) = (hosted.named.clone(), Some(&host.place));
            self.hosts.push(Host { named, open: &of.open, first, more: Vec::new() });
            return;
        };
        let earlier = &mut self.hosts[*index];
        if let Some(first) = earlier.first {
            let words = format!("`{}` has a VirtualService at {first} already: the rules are put together", host.value);
            let hint = "Istio's sidecars use only one of them: write them as one";
            problems.push(Problem::new(Code::SeveralServices, host.place.clone(), words).hint(hint));
        }
        earlier.more.push(Part { host: &hosted.named.host, open: &of.open });
    }

    /// Is no VirtualService for it?
    pub fn is_free(&self, key: &str) -> bool {
        !self.known.contains_key(key)
    }

    /// A host that only one document is for.
    pub fn alone(&mut self, named: Named) {
        self.hosts.push(Host { named, open: &[], first: None, more: Vec::new() });
    }

    pub fn table(self) -> Table {
        Table::build(self.hosts.into_iter().map(Host::put_together).collect())
    }
}

impl Host<'_> {
    fn put_together(self) -> Named {
        if self.more.is_empty() {
            return self.named;
        }
        let own = Part { host: &self.named.host, open: self.open };
        let parts = [own].into_iter().chain(self.more);
        let mut rules: Vec<_> = parts.flat_map(|part| part.host.entries.iter().zip(part.open)).collect();
        // Rules without conditions go last, so that they do not hide the others.
        rules.sort_by_key(|(_, open)| **open);
        let entries = rules.into_iter().map(|(entry, _)| entry.clone()).collect();
        let host = VirtualHost { name: Arc::clone(&self.named.host.name), entries };
        Named { patterns: self.named.patterns, host: Arc::new(host) }
    }
}
