//! Asks one gRPC server for its health, over a connection of its own (`grpc.health.v1.Health/Check`).
//!
//! ```text
//!   connect ─► HTTP/2 ─► POST PATH, one message ─► the answer's message, and grpc-status 0 ─► Serving
//! ```
//! Does not: decide what follows from it, or ask again.

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderValue, Method, Request, Uri};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use weir_wire::grpc_health::{self, Serving};

/// More than the message and what may stand beside it is no answer.
const ANSWER: usize = 4096;

/// Why a server did not say how it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Silent {
    /// No connection, in the words of the system.
    Connect(String),
    /// Not within the time.
    TimedOut,
    /// It does not speak HTTP/2, or broke off.
    Http2(String),
    /// An HTTP status that is not 200.
    Status(u16),
    /// A gRPC status that is not 0: 5 of a service that it does not know, 12 of a server without health checks.
    Grpc(u16),
    /// Its answer is not of this protocol.
    Garbled,
}

impl std::fmt::Display for Silent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect(why) => write!(f, "no connection: {why}"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Http2(why) => write!(f, "no HTTP/2: {why}"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Grpc(5) => f.write_str("gRPC status 5: it does not know this service"),
            Self::Grpc(12) => f.write_str("gRPC status 12: it has no health checks"),
            Self::Grpc(status) => write!(f, "gRPC status {status}"),
            Self::Garbled => f.write_str("the answer is not one of grpc.health.v1"),
        }
    }
}

/// Asks the server at `address` for `service`; the empty name is the server as a whole.
///
/// # Errors
/// It did not say.
pub async fn ask_health(
    address: SocketAddr,
    authority: &str,
    service: &str,
    within: Duration,
) -> Result<Serving, Silent> {
    tokio::time::timeout(within, ask(address, authority, service)).await.unwrap_or(Err(Silent::TimedOut))
}

async fn ask(address: SocketAddr, authority: &str, service: &str) -> Result<Serving, Silent> {
    let connect = |why: std::io::Error| Silent::Connect(why.to_string());
    let socket = TcpStream::connect(address).await.map_err(connect)?;
    socket.set_nodelay(true).map_err(connect)?;
    let (send, connection) = h2::client::handshake(socket).await.map_err(broken)?;
    tokio::select! {
        biased;
        answered = call(send, authority, service) => answered,
        ended = connection => Err(ended.map_or_else(broken, |()| Silent::Http2("the connection ended".to_owned()))),
    }
}

async fn call(send: SendRequest<Bytes>, authority: &str, service: &str) -> Result<Serving, Silent> {
    let uri = Uri::builder().scheme("http").authority(authority).path_and_query(grpc_health::PATH).build();
    let mut request = Request::new(());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.map_err(|why| Silent::Http2(why.to_string()))?;
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert("te", HeaderValue::from_static("trailers"));
    let (response, mut up) = send.ready().await.map_err(broken)?.send_request(request, false).map_err(broken)?;
    up.send_data(Bytes::from(grpc_health::request(service)), true).map_err(broken)?;
    let (head, mut body) = response.await.map_err(broken)?.into_parts();
    if head.status != http::StatusCode::OK {
        return Err(Silent::Status(head.status.as_u16()));
    }
    let mut message = Vec::new();
    while let Some(piece) = body.data().await {
        message.extend_from_slice(&piece.map_err(broken)?);
        if message.len() > ANSWER {
            return Err(Silent::Garbled);
        }
    }
    let trailers = body.trailers().await.map_err(broken)?.unwrap_or_default();
    let status = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status"));
    match status.and_then(|digits| digits.to_str().ok()?.parse().ok()) {
        Some(0u16) => grpc_health::answer(&message).map_err(|_| Silent::Garbled),
        Some(status) => Err(Silent::Grpc(status)),
        None => Err(Silent::Garbled),
    }
}

fn broken(why: h2::Error) -> Silent {
    Silent::Http2(why.to_string())
}
