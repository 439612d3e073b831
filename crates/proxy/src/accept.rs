//! Accepts client connections and gives each to a worker.
//!
//! ```text
//!   queue ─► pressure? ──yes──► let them wait in the kernel's queue
//!              │ no
//!            accept ──out of descriptors──► give the reserve up, refuse one, take the reserve back, pause
//!              └─► descriptors short, or over limits.connections? ──yes──► refuse
//!                     └─► this worker, or the emptiest when this one is crowded
//!   told to close: takes what the queue still holds, then closes
//! ```
//! No error ends the loop. Does not: speak HTTP.

use crate::http::serve;
use crate::mesh::{Arrival, Door, Meets};
use crate::stream::Stream;
use crate::tcp::meet;
use crate::tls::greet::{Guest, greet};
use crate::worker::{Activity, Command, Place, Worker};
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use weir_policy::plan::Fronted;

/// After an accept error, and while memory or descriptors are short.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections of the kernel's queue that are still taken when a listener closes.
const LAST: usize = 4096;

/// A listener of a worker that is open. Dropping it closes it in order.
pub(crate) struct Opened {
    pub(crate) door: Door,
    close: Rc<Notify>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.close.notify_one();
    }
}

/// Starts to accept from `socket`.
pub(crate) fn open(worker: &Rc<Worker>, door: Door, socket: TcpListener) -> Opened {
    let close = Rc::new(Notify::new());
    worker.mesh.listening.fetch_add(1, Ordering::SeqCst);
    tokio::task::spawn_local(accept(Rc::clone(worker), door, socket, Rc::clone(&close)));
    Opened { door, close }
}

async fn accept(worker: Rc<Worker>, door: Door, socket: TcpListener, close: Rc<Notify>) {
    accept_until(&worker, door, socket, &close).await;
    // All that it accepted is counted by now: who waits for the last connection sees them.
    worker.mesh.listening.fetch_sub(1, Ordering::SeqCst);
}

async fn accept_until(worker: &Rc<Worker>, door: Door, socket: TcpListener, close: &Notify) {
    let Ok(listener) = tokio::net::TcpListener::from_std(socket) else { return };
    let mut reserve = File::open("/dev/null").ok();
    loop {
        let next = async {
            while worker.mesh.pressure.stops_accepting() {
                tokio::time::sleep(PAUSE).await;
            }
            listener.accept().await
        };
        let arrived = tokio::select! {
            biased;
            () = close.notified() => break,
            arrived = next => arrived,
        };
        match arrived.and_then(|(stream, peer)| Ok(Arrival { stream: stream.into_std()?, peer, door })) {
            Ok(arrival) => arrive(worker, arrival),
            // The client gave up already.
            Err(why) if why.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => {
                worker.mesh.registry.refused_connection("accept_failed");
                // Out of descriptors, most likely: with the reserve's one connection is told so, not left waiting.
                drop(reserve.take());
                tokio::select! {
                    biased;
                    refused = listener.accept() => drop(refused),
                    () = std::future::ready(()) => {}
                }
                reserve = File::open("/dev/null").ok();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let Ok(listener) = listener.into_std() else { return };
    for _ in 0..LAST {
        let Ok((stream, peer)) = listener.accept() else { return };
        if stream.set_nonblocking(true).is_ok() {
            arrive(worker, Arrival { stream, peer, door });
        }
    }
}

fn arrive(worker: &Rc<Worker>, arrival: Arrival) {
    if worker.mesh.pressure.refuses(&arrival.stream) {
        return worker.mesh.registry.refused_connection("descriptors");
    }
    let limit = worker.live().plan.settings.limits.connections;
    // Counted before it is compared, so that two workers cannot both take the last place.
    if worker.mesh.connections.fetch_add(1, Ordering::Relaxed) >= limit {
        worker.mesh.connections.fetch_sub(1, Ordering::Relaxed);
        return worker.mesh.registry.refused_connection("connection_limit");
    }
    match worker.emptier() {
        Some(other) => {
            // A worker that has ended no longer counts: keep the connection.
            if let Err(mpsc::error::SendError(Command::Adopt(arrival))) = other.send(Command::Adopt(arrival)) {
                welcome(worker, arrival);
            }
        }
        None => welcome(worker, arrival),
    }
}

/// Serves a connection that is counted already. One that came in before a drain is served in the drain.
pub(crate) fn welcome(worker: &Rc<Worker>, arrival: Arrival) {
    worker.mesh.crowd[worker.index].fetch_add(1, Ordering::Relaxed);
    let place = Place::new(worker);
    let Arrival { stream, peer, door } = arrival;
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let key = place.key;
    let live = worker.live();
    let fronted = matches!(door, Door::Gateway { .. }) && live.plan.settings.fronted == Fronted::ByProxyProtocol;
    let of = Rc::clone(worker);
    let task = match live.meets(door) {
        _ if fronted => tokio::task::spawn_local(meet::introduced(of, place, stream, peer, door)),
        Meets::Requests => tokio::task::spawn_local(serve::serve(of, place, Stream::Plain(stream), None, peer, door)),
        Meets::Handshakes => tokio::task::spawn_local(shake(of, place, stream, peer, door)),
        Meets::Sorted | Meets::Bytes => tokio::task::spawn_local(meet::meet(of, place, stream, peer, door)),
    };
    worker.entered(key, task.abort_handle());
}

/// Speaks TLS with a client, then serves it. It has the time of a request head for its handshake.
async fn shake(worker: Rc<Worker>, place: Place, socket: TcpStream, peer: SocketAddr, door: Door) {
    worker.mark(place.key, Activity::Fresh { since: worker.now() });
    let live = worker.live();
    // The plan that it came in under: its port ended TLS.
    let Some(entrance) = live.entrance(door) else { return };
    match Box::pin(greet(socket, Vec::new(), entrance)).await {
        Ok(Guest { session, secured }) => {
            drop(live);
            let stream = Stream::Tls(Box::new(session));
            serve::serve(worker, place, stream, Some(secured), peer, door).await;
        }
        Err(why) => worker.mesh.registry.malformed(why),
    }
}
