//! A connection that has just come in at a port that carries more than requests in the clear.
//!
//! Does not: pass bytes on (`carry` does).

use super::announced::announced;
use super::carry::{Carried, Way};
use super::opening::{Kind, Opening, look};
use super::record::refuse;
use crate::http::serve;
use crate::mesh::{Door, Live, Meets};
use crate::stream::Stream;
use crate::tls::greet::{Guest, greet};
use crate::worker::{Activity, Lease, Place, Worker};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpStream;
use weir_policy::refusal::Refusal;
use weir_policy::tcp::{self, Facts, Found};
use weir_policy::tls::Carries;

/// Where services with TLS and without share a port, a client that says nothing first is one without.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes the PROXY protocol's header, then goes on as the port does.
pub(crate) async fn introduced(worker: Rc<Worker>, place: Place, socket: TcpStream, peer: SocketAddr, door: Door) {
    worker.mark(place.key, Activity::Fresh { since: worker.now() });
    let Ok(peer) = announced(&socket, peer).await else {
        return worker.mesh.registry.malformed("proxy_protocol");
    };
    let meets = worker.live().meets(door);
    match meets {
        Meets::Requests => serve::serve(worker, place, Stream::Plain(socket), None, peer, door).await,
        Meets::Handshakes | Meets::Sorted | Meets::Bytes => meet(worker, place, socket, peer, door).await,
    }
}

/// Tells what the connection is, and has it served. It has the time of a request head until then.
pub(crate) async fn meet(worker: Rc<Worker>, place: Place, socket: TcpStream, peer: SocketAddr, door: Door) {
    worker.mark(place.key, Activity::Fresh { since: worker.now() });
    // The plan that it came in under.
    let live = worker.live();
    let Some(rules) = live.tcp(door) else { return };
    let mut opening = Opening::default();
    let looks = live.entrance(door).is_some() || !rules.passed.is_empty();
    if looks && !look_for(&socket, &mut opening, !rules.plain.is_empty() && live.entrance(door).is_none()).await {
        return worker.mesh.registry.malformed("tls_ended");
    }
    let to = socket.local_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |own| own.ip());
    let (name, shaking) = match &opening.kind {
        Kind::Other => (None, false),
        Kind::Handshake(name) => (name.clone(), true),
    };
    let facts = Facts { name: name.as_deref(), to };
    let passed = if shaking { tcp::find(&rules.passed, &facts) } else { None };
    if ends_here(&live, door, &facts, passed.as_ref()) && (shaking || rules.plain.is_empty()) {
        let Some(entrance) = live.entrance(door) else { return };
        return match Box::pin(greet(socket, opening.first, entrance)).await {
            Ok(guest) => admit(worker, place, guest, peer, door, live).await,
            Err(why) => worker.mesh.registry.malformed(why),
        };
    }
    let found = if passed.is_some() { passed } else { tcp::find(&rules.plain, &facts) };
    let carried = Carried { stream: Stream::Plain(socket), first: opening.first, peer, name, secured: None };
    let way = lead(&worker, &live, found, &carried);
    drop(live);
    if let Some(way) = way {
        worker.mark(place.key, Activity::Busy);
        Box::pin(way.go(&worker, carried)).await;
    }
}

/// Looks at the first bytes; false: it ended before they came. `silent`: it may well be one that does not speak first.
async fn look_for(socket: &TcpStream, opening: &mut Opening, silent: bool) -> bool {
    if !silent {
        return look(socket, opening).await.is_ok();
    }
    tokio::time::timeout(PATIENCE, look(socket, opening)).await.is_ok_and(|looked| looked.is_ok())
        || opening.first.is_empty()
}

/// Does a server that ends TLS fit at least as well as what would be passed on?
fn ends_here(live: &Live, door: Door, facts: &Facts<'_>, passed: Option<&Found<'_>>) -> bool {
    let Some(entrance) = live.entrance(door) else { return false };
    match (entrance.choose(facts.name), passed) {
        (Some(slot), Some(found)) => {
            slot.rules.fits(facts.name).is_some_and(|fit| fit.saturating_add(1) >= found.fit.name)
        }
        // Without any of them the handshake is refused with an alert.
        (_, passed) => passed.is_none(),
    }
}

/// A client that TLS was spoken with.
async fn admit(worker: Rc<Worker>, place: Place, guest: Guest, peer: SocketAddr, door: Door, live: Lease) {
    let Guest { session, secured } = guest;
    let stream = Stream::Tls(Box::new(session));
    if secured.server.rules.carries == Carries::Http {
        drop(live);
        return serve::serve(worker, place, stream, Some(secured), peer, door).await;
    }
    let to = stream.local_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |own| own.ip());
    let name = secured.name.clone();
    let found = live.tcp(door).and_then(|rules| tcp::find(&rules.plain, &Facts { name: name.as_deref(), to }));
    let carried = Carried { stream, first: Vec::new(), peer, name, secured: Some(secured) };
    let way = lead(&worker, &live, found, &carried);
    drop(live);
    if let Some(way) = way {
        worker.mark(place.key, Activity::Busy);
        Box::pin(way.go(&worker, carried)).await;
    }
}

/// Where it goes; `None`: nowhere, and that is recorded.
fn lead(worker: &Rc<Worker>, live: &Live, found: Option<Found<'_>>, carried: &Carried) -> Option<Way> {
    match found {
        Some(found) => Way::find(worker, live, found.rule, carried),
        None => {
            refuse(worker, carried, Refusal::NoRoute);
            None
        }
    }
}
