//! `tls` of servers and of destinations → [`weir_policy::tls`].

use crate::kind::client_tls::{ClientTls, Origination};
use crate::kind::gateway::{Server as Words, Serves};
use crate::kind::server_tls::Termination;
use std::sync::Arc;
use weir_policy::tls::{Client, Entry, Server};

/// A Gateway's server, when TLS ends there.
pub fn server(words: &Words) -> Option<Entry> {
    let Serves::Ended(tls, carries) = words.serves.clone() else { return None };
    let host = |written: &str| written.rsplit('/').next().unwrap_or_default().to_ascii_lowercase().into();
    let hosts = words.hosts.iter().map(|written| host(&written.value)).collect();
    let Termination { identities, clients, versions, suites } = tls;
    let rules = Server { hosts, identities, clients, versions, suites, carries };
    Some(Entry { rules: Arc::new(rules), place: words.place.clone() })
}

/// Of a destination: without `sni`, its host is asked for.
pub fn client(written: Option<&ClientTls>, host: &str) -> Option<Arc<Client>> {
    let ClientTls::Originate(Origination { identity, proof, sni }) = written?.clone() else { return None };
    let name = sni.or_else(|| (!host.contains('*')).then(|| host.into()));
    Some(Arc::new(Client { identity, proof, name }))
}

/// Is it to be encrypted in a way that is not enforced yet?
pub const fn is_guarded(written: Option<&ClientTls>) -> bool {
    matches!(written, Some(ClientTls::Guarded(_)))
}
