//! Listeners of services that are not HTTP: opened where the port is free, and said where it is not.
//!
//! A Gateway's port that is in use is an error; this machine may well have a use of its own for a service's port, and the
//! services that can be reached are to be. Does not: open Gateways.

use crate::error::StartError;
use crate::handle::Shares;
use crate::listen::{self, Bound, Handed};
use crate::mesh::Door;
use std::collections::HashMap;
use std::net::SocketAddr;
use weir_policy::plan::{Listener, Plan};

/// See the module.
#[derive(Default, Debug)]
pub(crate) struct Open(HashMap<SocketAddr, Bound>);

fn address(listener: &Listener) -> SocketAddr {
    SocketAddr::new(listener.bind, listener.port)
}

impl Open {
    /// Opens what a plan has beyond what is open.
    pub(crate) fn open(
        &mut self,
        plan: &Plan,
        workers: usize,
        handed: &mut Handed,
    ) -> Result<Vec<(Door, Shares)>, StartError> {
        let mut opened = Vec::new();
        for listener in &plan.services {
            let at = address(listener);
            if self.0.contains_key(&at) {
                continue;
            }
            match listen::bind(at, &format!("service {}", listener.name), workers, handed) {
                Ok(bound) => {
                    opened.push((Door::Service { at }, bound.shares(workers)?));
                    self.0.insert(at, bound);
                }
                Err(why) => eprintln!("weir: `{}` cannot be reached at {at}: {why}", listener.name),
            }
        }
        Ok(opened)
    }

    /// Gives up the ports that a plan's Gateways want, before these are bound.
    pub(crate) fn yield_to_gateways(&mut self, plan: &Plan) -> Vec<Door> {
        self.close(|at| plan.gateways.iter().any(|gateway| gateway.port == at.port()))
    }

    /// Forgets what a plan does not have, and says which doors those were.
    pub(crate) fn keep(&mut self, plan: &Plan) -> Vec<Door> {
        self.close(|at| !plan.services.iter().any(|listener| address(listener) == *at))
    }

    fn close(&mut self, is_gone: impl Fn(&SocketAddr) -> bool) -> Vec<Door> {
        self.0.extract_if(|at, _| is_gone(at)).map(|(at, _)| Door::Service { at }).collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Bound> {
        self.0.values()
    }
}
