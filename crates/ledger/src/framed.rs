//! Clients that speak HTTP/2: plain requests, gRPC calls, and one stream that is held open for as long as a test wants.
//!
//! A connection that was told to go (GOAWAY) is given up between two requests and counts as `closed`; a request that
//! it was given and does not answer is `lost`, whatever the reason but one: a GOAWAY that leaves it out promises that it was
//! not looked at (RFC 9113 section 6.8); it is sent again, once, and counts as `left_out`.

#![allow(clippy::disallowed_methods, reason = "a client of real servers lives in real time")]

use crate::backend::body;
use crate::client::{Client, Speaks};
use crate::glance::Glance;
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// A call that hangs longer than this is lost.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Link {
    send: SendRequest<Bytes>,
    pub(crate) served: u32,
    goaways: Arc<AtomicU32>,
}

struct Answer {
    status: u16,
    body: Bytes,
}

/// A runtime of this thread.
pub(crate) fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

impl Link {
    async fn open(to: SocketAddr) -> Result<Self, String> {
        let socket = TcpStream::connect(to).await.map_err(|why| why.to_string())?;
        socket.set_nodelay(true).map_err(|why| why.to_string())?;
        let goaways = Arc::new(AtomicU32::new(0));
        let shaken = h2::client::handshake(Glance::at(socket, &goaways)).await;
        let (send, connection) = shaken.map_err(|why| why.to_string())?;
        // How it ended is seen by its streams.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { send, served: 0, goaways })
    }

    /// Whether it takes another request: `Err` says why not.
    async fn ready(&mut self) -> Result<(), h2::Error> {
        self.send = self.send.clone().ready().await?;
        Ok(())
    }

    async fn ask(&mut self, speaks: Speaks, host: &str, id: u64) -> Result<Answer, h2::Error> {
        let grpc = speaks == Speaks::Grpc;
        let (response, mut upload) = self.send.send_request(head(speaks, host, &format!("/{id}")), !grpc)?;
        if grpc {
            upload.send_data(message(id.to_string().as_bytes()), true)?;
        }
        let (head, mut stream) = response.await?.into_parts();
        let whole = read(&mut stream).await?;
        let trailers = stream.trailers().await?.unwrap_or_default();
        let plain = Answer { status: head.status.as_u16(), body: whole.clone() };
        Ok(if grpc { of_grpc(&Response::from_parts(head, ()), &trailers, &whole) } else { plain })
    }
}

fn head(speaks: Speaks, host: &str, path: &str) -> Request<()> {
    let mut request = Request::new(());
    // A wrong host would be a wrong test.
    *request.uri_mut() = format!("http://{host}{path}").parse().unwrap_or_default();
    if speaks == Speaks::Grpc {
        *request.method_mut() = Method::POST;
        request.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert("te", http::HeaderValue::from_static("trailers"));
    }
    request
}

/// A gRPC message with its length.
pub(crate) fn message(words: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(words.len() + 5);
    framed.extend_from_slice(&[0]);
    framed.extend_from_slice(&u32::try_from(words.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend_from_slice(words);
    framed.freeze()
}

/// 200 for `grpc-status: 0`, which must stand in the trailers or the head; 503 for any other.
fn of_grpc(head: &Response<()>, trailers: &HeaderMap, whole: &Bytes) -> Answer {
    let status = trailers.get("grpc-status").or_else(|| head.headers().get("grpc-status"));
    match status.map(http::HeaderValue::as_bytes) {
        Some(b"0") => Answer { status: 200, body: whole.slice(5.min(whole.len())..) },
        Some(_) => Answer { status: 503, body: Bytes::new() },
        None => Answer { status: head.status().as_u16(), body: Bytes::from_static(b"no grpc-status") },
    }
}

async fn read(stream: &mut RecvStream) -> Result<Bytes, h2::Error> {
    let mut whole = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

/// Runs a client to its end.
pub(crate) fn run(client: &Client) {
    match runtime() {
        Ok(runtime) => runtime.block_on(requests(client)),
        Err(why) => client.book.lost(format!("no runtime: {why}")),
    }
}

async fn requests(client: &Client) {
    let (mut micros, mut pace, mut kept) = (Vec::new(), client.pace(), None);
    while !client.stop.load(Ordering::Relaxed) {
        if let Some(left) = pace.due() {
            // Connections are looked after meanwhile: a PING of the server is answered.
            tokio::time::sleep(left).await;
        }
        let Some(id) = client.next_id() else { break };
        let began = Instant::now();
        let Some(mut link) = usable(client, kept.take(), id).await else { continue };
        let mut end = exchange(client, &mut link, id).await;
        if end == End::LeftOut {
            client.book.left_out();
            let Some(another) = usable(client, None, id).await else { continue };
            link = another;
            end = exchange(client, &mut link, id).await;
        }
        if end == End::LeftOut {
            client.book.lost(format!("id {id} was left out twice"));
        } else if end == End::Answered && link.served < client.load.kept {
            kept = Some(link);
        }
        micros.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    client.book.add_micros(&micros);
}

/// The kept connection unless it was told to go, or a new one.
async fn usable(client: &Client, kept: Option<Link>, id: u64) -> Option<Link> {
    if let Some(mut link) = kept {
        match link.ready().await {
            Ok(()) if link.goaways.load(Ordering::Relaxed) == 0 => return Some(link),
            Ok(()) => client.book.closed(),
            Err(why) if why.is_go_away() && why.reason() == Some(h2::Reason::NO_ERROR) => client.book.closed(),
            Err(_) => client.book.stale(),
        }
    }
    match Link::open(client.load.to).await {
        Ok(link) => Some(link),
        Err(why) => {
            client.book.refused(format!("id {id}: {why}"));
            None
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Answered,
    /// It is in the book.
    Failed,
    /// By a GOAWAY.
    LeftOut,
}

async fn exchange(client: &Client, link: &mut Link, id: u64) -> End {
    let asked = tokio::time::timeout(PATIENCE, link.ask(client.load.speaks, &client.load.host, id)).await;
    match asked {
        Ok(Ok(answer)) if answer.status == 200 && answer.body != body(id).as_bytes() => {
            client.book.wrong(format!("id {id} was answered {:?}", String::from_utf8_lossy(&answer.body)));
            End::Failed
        }
        Ok(Ok(answer)) => {
            client.book.status(answer.status);
            link.served += 1;
            End::Answered
        }
        Ok(Err(why)) if why.is_remote() && why.is_go_away() && why.reason() == Some(h2::Reason::NO_ERROR) => {
            End::LeftOut
        }
        Ok(Err(why)) => {
            client.book.lost(format!("id {id} on a connection that served {}: {why}", link.served));
            End::Failed
        }
        Err(_) => {
            client.book.lost(format!("id {id}: no answer"));
            End::Failed
        }
    }
}

/// One gRPC stream in both directions, held open: what is said is said back.
#[derive(Debug)]
pub struct Talk {
    runtime: Runtime,
    up: SendStream<Bytes>,
    down: RecvStream,
    goaways: Arc<AtomicU32>,
}

impl Talk {
    /// Opens the stream, and says the first word.
    ///
    /// # Errors
    /// What stood in the way, in words.
    pub fn open(to: SocketAddr, host: &str) -> Result<Self, String> {
        let runtime = runtime().map_err(|why| why.to_string())?;
        let opening = async {
            let mut link = Link::open(to).await?;
            link.ready().await.map_err(|why| why.to_string())?;
            let sent = link.send.send_request(head(Speaks::Grpc, host, "/talk"), false);
            let (response, mut up) = sent.map_err(|why| why.to_string())?;
            up.send_data(message(b"first"), false).map_err(|why| why.to_string())?;
            let mut down = response.await.map_err(|why| why.to_string())?.into_body();
            hear(&mut down, b"first").await?;
            Ok::<_, String>((up, down, Arc::clone(&link.goaways)))
        };
        let (up, down, goaways) = runtime.block_on(opening)?;
        Ok(Self { runtime, up, down, goaways })
    }

    /// GOAWAYs that the connection has seen by now.
    pub fn goaways(&self) -> u32 {
        self.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(5)).await });
        self.goaways.load(Ordering::Relaxed)
    }

    /// Says a word and hears it.
    ///
    /// # Errors
    /// The stream ended, or said something else.
    pub fn say(&mut self, word: &[u8]) -> Result<(), String> {
        self.up.send_data(message(word), false).map_err(|why| why.to_string())?;
        self.runtime.block_on(hear(&mut self.down, word))
    }

    /// Ends our half; the `grpc-status` of the trailers.
    ///
    /// # Errors
    /// The stream was cut.
    pub fn finish(mut self) -> Result<String, String> {
        self.up.send_data(Bytes::new(), true).map_err(|why| why.to_string())?;
        let ending = async {
            read(&mut self.down).await?;
            self.down.trailers().await
        };
        let trailers = self.runtime.block_on(ending).map_err(|why| why.to_string())?.unwrap_or_default();
        let status = trailers.get("grpc-status").and_then(|status| status.to_str().ok());
        status.map(str::to_owned).ok_or_else(|| "no grpc-status".to_owned())
    }
}

/// Waits for exactly one message.
async fn hear(down: &mut RecvStream, word: &[u8]) -> Result<(), String> {
    let (wanted, mut heard) = (message(word), BytesMut::new());
    while heard.len() < wanted.len() {
        let data = tokio::time::timeout(PATIENCE, down.data()).await.map_err(|_| "nothing was heard")?;
        let data = data.ok_or("the stream ended")?.map_err(|why| why.to_string())?;
        // It fails for a stream that is over: the next read says so.
        let _ = down.flow_control().release_capacity(data.len());
        heard.extend_from_slice(&data);
    }
    if heard == wanted { Ok(()) } else { Err(format!("heard {heard:?}")) }
}
