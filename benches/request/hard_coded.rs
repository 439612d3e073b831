//! The lowest rung: parse, edit, write, with the upstream in the code. What the wire crate and the runtime cost alone.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_wire::{Body, Limits, Name, Parsed, RequestHead, RequestKind, ResponseHead, Step, write};

/// Serves on a thread of its own, for ever.
pub(crate) fn start(upstream: SocketAddr) -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            sender.send(listener.local_addr().expect("an address")).expect("told");
            let (client, _) = listener.accept().await.expect("a client");
            // The client has left: the run is over.
            let _ = forward(client, TcpStream::connect(upstream).await.expect("connected")).await;
        });
    });
    receiver.recv().expect("started")
}

async fn forward(mut client: TcpStream, mut upstream: TcpStream) -> std::io::Result<()> {
    let (mut request, mut response) = (RequestHead::default(), ResponseHead::default());
    let (mut inbound, mut answer, mut out) = (vec![0; 16 * 1024], vec![0; 16 * 1024], Vec::new());
    loop {
        let mut held = 0;
        request.restart();
        loop {
            let count = client.read(&mut inbound[held..]).await?;
            held += count;
            match weir_wire::parse_request(&inbound[..held], &Limits::default(), &mut request) {
                Ok(Parsed::Complete) => break,
                Ok(Parsed::Partial) if count > 0 => {}
                _ => return Ok(()),
            }
        }
        out.clear();
        for part in [request.method, request.target] {
            out.extend_from_slice(part.of(&inbound));
            out.push(b' ');
        }
        out.extend_from_slice(b"HTTP/1.1\r\n");
        write::fields(&mut out, &inbound, &request.fields, |field| field.id != Name::Connection);
        out.extend_from_slice(b"\r\n");
        upstream.write_all(&out).await?;
        answer_back(&mut client, &mut upstream, &mut response, &mut answer, &mut out).await?;
    }
}

async fn answer_back(
    client: &mut TcpStream,
    upstream: &mut TcpStream,
    response: &mut ResponseHead,
    answer: &mut [u8],
    out: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut held = 0;
    response.restart();
    loop {
        held += upstream.read(&mut answer[held..]).await?;
        let parsed = weir_wire::parse_response(&answer[..held], &Limits::default(), RequestKind::Other, response);
        if parsed == Ok(Parsed::Complete) {
            break;
        }
    }
    out.clear();
    write::status_line(out, response.status);
    write::fields(out, answer, &response.fields, |field| field.id != Name::Connection);
    out.extend_from_slice(b"\r\n");
    let (mut body, mut at) = (Body::new(response.framing), response.len);
    while !body.is_done() {
        match body.next(&answer[at..held]) {
            Ok(Step::Data { start, end, consumed }) => {
                out.extend_from_slice(&answer[at + start..at + end]);
                at += consumed;
            }
            _ => held += upstream.read(&mut answer[held..]).await?,
        }
    }
    client.write_all(out).await
}
