//! A backend that speaks HTTP/2: answers a GET with what its id asks for, a gRPC call the same in a message, `/talk` with
//! whatever is said, for as long as it is said.
//!
//! Does not: fail on purpose.

use crate::backend::body;
use crate::book::Book;
use crate::framed::{message, runtime};
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use std::net::TcpListener;
use std::sync::Arc;
use tokio::net::TcpStream;

/// Serves connections in a thread of its own.
pub(crate) fn serve(listener: TcpListener, book: Arc<Book>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = runtime()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            loop {
                if let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(connection(socket, Arc::clone(&book)));
                }
            }
        });
    });
    Ok(())
}

async fn connection(socket: TcpStream, book: Arc<Book>) -> Result<(), h2::Error> {
    // A peer that is gone is noticed by what follows.
    let _ = socket.set_nodelay(true);
    let mut connection = h2::server::handshake(socket).await?;
    while let Some(arrived) = connection.accept().await {
        let (request, respond) = arrived?;
        let book = Arc::clone(&book);
        // A client that gave up is in the client's book.
        tokio::spawn(async move { drop(answer(request, respond, &book).await) });
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, book: &Book) -> Result<(), h2::Error> {
    let (head, mut upload) = request.into_parts();
    let path = head.uri.path();
    let mut response = Response::new(());
    if head.method != Method::POST {
        let id = path.trim_start_matches('/').parse().unwrap_or(0);
        book.status(200);
        let words = Bytes::from(body(id));
        return respond.send_response(response, false)?.send_data(words, true);
    }
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    if path == "/talk" {
        return talk(&mut upload, &mut respond.send_response(response, false)?).await;
    }
    let mut whole = BytesMut::new();
    while let Some(data) = upload.data().await {
        let data = data?;
        upload.flow_control().release_capacity(data.len())?;
        whole.extend_from_slice(&data);
    }
    let id = std::str::from_utf8(whole.get(5..).unwrap_or_default()).ok().and_then(|digits| digits.parse().ok());
    book.status(200);
    let mut down = respond.send_response(response, false)?;
    down.send_data(message(body(id.unwrap_or(0)).as_bytes()), false)?;
    down.send_trailers(ok())
}

async fn talk(upload: &mut RecvStream, down: &mut SendStream<Bytes>) -> Result<(), h2::Error> {
    while let Some(data) = upload.data().await {
        let data = data?;
        upload.flow_control().release_capacity(data.len())?;
        down.send_data(data, false)?;
    }
    down.send_trailers(ok())
}

fn ok() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}
