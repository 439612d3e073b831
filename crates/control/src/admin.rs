//! The admin address: readiness, metrics, the version in force, reload.
//!
//! Loopback only. A request from a web page (an `Origin`, or a foreign `Host`) is refused, and nothing changes by GET.

use crate::DataPlane;
use crate::follow::Follower;
use crate::store::Status;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::sync::Notify;
use weir_config::Problem;

/// What the admin address can reach.
#[derive(Clone)]
pub struct Admin {
    pub plane: Arc<dyn DataPlane>,
    pub follower: Arc<Follower>,
    /// Hands over to a new process and says which, or why not. May take as long as that one needs to start.
    pub upgrade: Arc<dyn Fn() -> Result<u32, String> + Send + Sync>,
}

/// The admin address, being served. It is served as long as the process lives, or until [`Server::stop`].
#[derive(Debug)]
pub struct Server {
    socket: TcpListener,
    stop: Arc<Notify>,
    ended: Receiver<()>,
}

impl Server {
    /// A copy of the listening socket, for a process that is to go on in our place.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn socket(&self) -> std::io::Result<TcpListener> {
        self.socket.try_clone()
    }

    /// Accepts no more; what is being answered is finished.
    pub fn stop(&self) {
        self.stop.notify_one();
    }

    /// Waits until everything is answered that came before [`Server::stop`], at most `within`.
    pub fn finish(&self, within: Duration) {
        // Nothing is ever sent: the thread's end of the channel goes with it.
        let _ = self.ended.recv_timeout(within);
    }
}

/// Binds the admin address.
///
/// # Errors
/// Words for a person: the address is in use, say.
pub fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).map_err(|why| match why.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{address} (admin) is in use by another process: stop that one, or choose another by --admin")
        }
        _ => format!("cannot listen on {address} (admin): {why}"),
    })
}

/// Serves the admin address on a thread of its own.
///
/// # Errors
/// The system refuses a thread or a descriptor.
pub fn start(socket: TcpListener, admin: Admin) -> Result<Server, String> {
    socket.set_nonblocking(true).map_err(|why| why.to_string())?;
    let listener = socket.try_clone().map_err(|why| why.to_string())?;
    let app = router(admin);
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let (serving, ended) = channel();
    std::thread::Builder::new()
        .name("admin".into())
        .spawn(move || {
            let _serving: Sender<()> = serving;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let served = runtime.and_then(|runtime| {
                runtime.block_on(async move {
                    let listener = tokio::net::TcpListener::from_std(listener)?;
                    axum::serve(listener, app).with_graceful_shutdown(async move { stopped.notified().await }).await
                })
            });
            if let Err(why) = served {
                eprintln!("weir: the admin address ended: {why}");
            }
        })
        .map_err(|why| why.to_string())?;
    Ok(Server { socket, stop, ended })
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .route("/api/v1/version", get(version))
        .route("/api/v1/reload", post(reload))
        .route("/api/v1/upgrade", post(upgrade))
        .merge(crate::inspect::routes())
        .layer(middleware::from_fn(guard))
        .with_state(admin)
}

/// Web pages have no business here: no `Origin`, and only a loopback `Host` (rebinding names others).
async fn guard(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) || !is_local(request.headers()) {
        return (StatusCode::FORBIDDEN, "the admin address answers local tools only\n").into_response();
    }
    next.run(request).await
}

fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let bare = host.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| host.parse::<IpAddr>());
    match bare {
        Ok(address) => address.is_loopback(),
        Err(_) => host.split(':').next() == Some("localhost"),
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    if admin.plane.ready() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response()
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let plane = Arc::clone(&admin.plane);
    let mut text = tokio::task::spawn_blocking(move || plane.metrics()).await.unwrap_or_default();
    let status = admin.follower.store.status();
    for (name, kind, help, value) in [
        ("weir_config_version", "gauge", "The number of the version in force.", status.version.number),
        ("weir_config_rejected_total", "counter", "Configurations that were refused.", status.rejected),
        (
            "weir_config_degraded",
            "gauge",
            "1 when the documents of now were refused and older ones are in force.",
            u64::from(status.refused.is_some()),
        ),
    ] {
        text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn version(State(admin): State<Admin>) -> Response {
    json_response(StatusCode::OK, &admin.follower.store.status())
}

async fn reload(State(admin): State<Admin>) -> Response {
    let follower = Arc::clone(&admin.follower);
    let outcome = tokio::task::spawn_blocking(move || follower.reload()).await;
    let code = match outcome {
        Ok(Ok(_)) => StatusCode::OK,
        Ok(Err(_)) => StatusCode::UNPROCESSABLE_ENTITY,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    json_response(code, &admin.follower.store.status())
}

async fn upgrade(State(admin): State<Admin>) -> Response {
    match tokio::task::spawn_blocking(move || (admin.upgrade)()).await {
        Ok(Ok(successor)) => format!("process {successor} serves now; the earlier one drains\n").into_response(),
        Ok(Err(why)) => {
            (StatusCode::CONFLICT, format!("no upgrade, the running process goes on: {why}\n")).into_response()
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn json_response(code: StatusCode, status: &Status) -> Response {
    let body = json!({
        "status": if status.refused.is_some() { "degraded" } else { "ok" },
        "version": status.version.to_string(),
        "refused": status.refused,
        "rejected": status.rejected,
        "notKept": status.not_kept,
        "problems": status.problems.iter().chain(&status.keys).map(problem).collect::<Vec<_>>(),
    });
    (code, [(header::CONTENT_TYPE, "application/json")], Body::from(format!("{body}\n"))).into_response()
}

/// A problem as JSON, the same everywhere.
pub fn problem(problem: &Problem) -> serde_json::Value {
    json!({
        "code": problem.code.text(),
        "severity": problem.severity.word(),
        "file": &*problem.place.file,
        "line": problem.place.line,
        "column": problem.place.column,
        "message": problem.words,
        "hint": problem.hint,
    })
}
