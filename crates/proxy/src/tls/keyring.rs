//! All slots of the process: the same rules have the same slot, whatever plan they are in.
//!
//! Does not: watch files (`weir-control` does, and says when to renew).

use super::greet::Secured;
use super::slot::Slot;
use super::trouble::Trouble;
use crate::clock::Clock;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use weir_policy::place::Place;
use weir_policy::plan::{Gateway, Plan};
use weir_policy::tls::{Client, Clients, Server};

/// See the module.
#[derive(Debug)]
pub(crate) struct Keyring {
    clock: Clock,
    /// `--secrets`.
    secrets: Option<PathBuf>,
    servers: Mutex<HashMap<Arc<Server>, Arc<Slot<Server>>>>,
    clients: Mutex<HashMap<Arc<Client>, Arc<Slot<Client>>>>,
}

/// The slots of a plan.
#[derive(Default, Debug)]
pub(crate) struct Ring {
    /// By port; a port in the clear has none.
    pub(crate) entrances: BTreeMap<u16, Entrance>,
    clients: Vec<Arc<Slot<Client>>>,
}

/// The servers of one port that end TLS.
#[derive(Debug)]
pub(crate) struct Entrance {
    servers: Vec<Arc<Slot<Server>>>,
}

impl Entrance {
    /// The server for the name of a handshake, or of a request.
    pub(crate) fn choose(&self, name: Option<&str>) -> Option<&Arc<Slot<Server>>> {
        // The first of those that fit equally well.
        let fits = self.servers.iter().rev().filter_map(|slot| Some((slot.rules.fits(name)?, slot)));
        fits.max_by_key(|(fit, _)| *fit).map(|(_, slot)| slot)
    }

    /// May a request for this host use a connection that was opened so? Not when its server is another one (RFC 9110
    /// section 15.5.20), nor when that asks more of clients since the connection was opened.
    pub(crate) fn admits(&self, secured: &Secured, authority: &[u8]) -> bool {
        if let [only] = self.servers.as_slice()
            && Arc::ptr_eq(only, &secured.server)
        {
            return true;
        }
        let host = std::str::from_utf8(without_port(authority)).ok();
        // A host of no server has no rule either: that is told by the table.
        let Some(wanted) = self.choose(host) else { return true };
        let given = self.choose(secured.name.as_deref());
        let same = given.is_some_and(|given| Arc::ptr_eq(given, wanted));
        let asked = &wanted.rules.clients;
        same && (*asked == Clients::Anybody || *asked == secured.server.rules.clients)
    }

    /// Is there anything to speak with?
    fn is_usable(&self) -> bool {
        self.servers.iter().any(|slot| slot.good().is_some())
    }
}

fn without_port(authority: &[u8]) -> &[u8] {
    let digits = authority.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let end = authority.len() - digits;
    if end > 0 && authority[end - 1] == b':' { &authority[..end - 1] } else { authority }
}

impl Ring {
    /// May the port be opened?
    pub(crate) fn opens(&self, gateway: &Gateway) -> bool {
        gateway.tls.is_empty()
            || !gateway.tcp.passed.is_empty()
            || self.entrances.get(&gateway.port).is_some_and(Entrance::is_usable)
    }
}

impl Keyring {
    pub(crate) fn new(clock: Clock, secrets: Option<PathBuf>) -> Self {
        Self { clock, secrets, servers: Mutex::default(), clients: Mutex::default() }
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.clock.unix_millis())
    }

    /// The slots of a plan; what is not known yet is built. Second, the troubles of those.
    pub(crate) fn prepare(&self, plan: &Plan) -> Prepared {
        let mut out = Prepared::default();
        for gateway in plan.gateways.iter().filter(|gateway| !gateway.tls.is_empty()) {
            let servers = gateway.tls.iter().map(|entry| self.server(&entry.rules, &entry.place, &mut out.troubles));
            let entrance = Entrance { servers: servers.collect() };
            out.ring.entrances.insert(gateway.port, entrance);
        }
        for upstream in &plan.clusters {
            if let Some(rules) = &upstream.connection.tls {
                out.ring.clients.push(self.client(rules, &upstream.place, &mut out.troubles));
            }
        }
        out
    }

    fn server(&self, rules: &Arc<Server>, place: &Place, troubles: &mut Vec<Trouble>) -> Arc<Slot<Server>> {
        if let Some(slot) = self.servers.lock().get(rules) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot::new(Arc::clone(rules), place.clone(), self.secrets.as_deref(), self.now()));
        troubles.extend(slot.trouble());
        self.servers.lock().insert(Arc::clone(rules), Arc::clone(&slot));
        slot
    }

    fn client(&self, rules: &Arc<Client>, place: &Place, troubles: &mut Vec<Trouble>) -> Arc<Slot<Client>> {
        if let Some(slot) = self.clients.lock().get(rules) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot::new(Arc::clone(rules), place.clone(), self.secrets.as_deref(), self.now()));
        troubles.extend(slot.trouble());
        self.clients.lock().insert(Arc::clone(rules), Arc::clone(&slot));
        slot
    }

    /// Forgets the slots of plans that are gone.
    pub(crate) fn retain(&self, ring: &Ring) {
        let servers: Vec<_> = ring.entrances.values().flat_map(|entrance| &entrance.servers).collect();
        self.servers.lock().retain(|_, slot| servers.iter().any(|kept| Arc::ptr_eq(kept, slot)));
        let clients = &ring.clients;
        self.clients.lock().retain(|_, slot| clients.iter().any(|kept| Arc::ptr_eq(kept, slot)));
    }

    /// What a connection to a destination speaks with.
    pub(crate) fn of(&self, rules: &Arc<Client>) -> Option<Arc<Slot<Client>>> {
        self.clients.lock().get(rules).cloned()
    }

    /// Reads all files again; everything that is wrong now.
    pub(crate) fn renew(&self) -> Vec<Trouble> {
        let (secrets, now) = (self.secrets.as_deref(), self.now());
        let servers: Vec<_> = self.servers.lock().values().cloned().collect();
        let clients: Vec<_> = self.clients.lock().values().cloned().collect();
        servers.iter().for_each(|slot| slot.renew(secrets, now));
        clients.iter().for_each(|slot| slot.renew(secrets, now));
        let troubles = servers.iter().filter_map(|slot| slot.trouble());
        let mut troubles: Vec<Trouble> = troubles.chain(clients.iter().filter_map(|slot| slot.trouble())).collect();
        troubles.sort_by(|one, other| (one.place.line, &one.words).cmp(&(other.place.line, &other.words)));
        troubles.dedup();
        troubles
    }

    /// Folders in which a change matters.
    pub(crate) fn folders(&self) -> BTreeSet<PathBuf> {
        let mut folders: BTreeSet<PathBuf> = self.servers.lock().values().flat_map(|slot| slot.folders()).collect();
        folders.extend(self.clients.lock().values().flat_map(|slot| slot.folders()));
        folders.extend(self.secrets.clone());
        folders
    }
}

/// See [`Keyring::prepare`].
#[derive(Default, Debug)]
pub(crate) struct Prepared {
    pub(crate) ring: Ring,
    pub(crate) troubles: Vec<Trouble>,
}
