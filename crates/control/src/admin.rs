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
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use weir_config::Problem;

#[derive(Clone)]
struct Admin {
    plane: Arc<dyn DataPlane>,
    follower: Arc<Follower>,
}

/// Binds the admin address and serves it on a thread of its own. Returns where it really is.
///
/// # Errors
/// Words for a person: the address is not loopback, or is in use.
pub fn start(address: SocketAddr, plane: Arc<dyn DataPlane>, follower: Arc<Follower>) -> Result<SocketAddr, String> {
    if !address.ip().is_loopback() {
        return Err(format!(
            "the admin address {address} is not loopback: use 127.0.0.1 (other addresses will need a token)"
        ));
    }
    let listener = std::net::TcpListener::bind(address).map_err(|why| match why.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{address} (admin) is in use by another process: stop that one, or choose another by --admin")
        }
        _ => format!("cannot listen on {address} (admin): {why}"),
    })?;
    let bound = listener.local_addr().map_err(|why| why.to_string())?;
    listener.set_nonblocking(true).map_err(|why| why.to_string())?;
    let app = router(Admin { plane, follower });
    std::thread::Builder::new()
        .name("admin".into())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let served = runtime.and_then(|runtime| {
                runtime.block_on(async move { axum::serve(tokio::net::TcpListener::from_std(listener)?, app).await })
            });
            if let Err(why) = served {
                eprintln!("weir: the admin address ended: {why}");
            }
        })
        .map_err(|why| why.to_string())?;
    Ok(bound)
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/healthz", get(async || "ok\n"))
        .route("/metrics", get(metrics))
        .route("/api/v1/version", get(version))
        .route("/api/v1/reload", post(reload))
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

fn json_response(code: StatusCode, status: &Status) -> Response {
    let body = json!({
        "version": status.version.to_string(),
        "refused": status.refused,
        "rejected": status.rejected,
        "problems": status.problems.iter().map(problem).collect::<Vec<_>>(),
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
