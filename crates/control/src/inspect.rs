//! What the admin address shows of the plan and of requests: explanations, records, live views, lists.
//!
//! ```text
//!   /api/v1/explain?url=…                 what a request would meet
//!   /api/v1/requests, /requests/{id}      records; `filter=status=5xx`, `limit=50`
//!   /api/v1/tap                           records as they are made, one JSON object a line; `filter=`, `max=`
//!   /api/v1/listeners, routes, clusters, endpoints
//! ```
//! Does not: change anything.

use crate::admin::Admin;
use crate::explain::{self, Ask};
use crate::{DataPlane, Tap};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_core::Stream;
use serde_json::{Value as Json, json};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use weir_policy::decision::{Decision, Filter};
use weir_policy::plan::Plan;

/// Records of one list, unless `limit` says otherwise.
const LISTED: usize = 50;

pub(crate) fn routes() -> Router<Admin> {
    Router::new()
        .route("/api/v1/explain", get(explained))
        .route("/api/v1/requests", get(requests))
        .route("/api/v1/requests/{id}", get(request))
        .route("/api/v1/tap", get(tap))
        .route(
            "/api/v1/listeners",
            get(async |State(admin): State<Admin>| listed(admin, |_, plan| explain::listeners(plan)).await),
        )
        .route(
            "/api/v1/routes",
            get(async |State(admin): State<Admin>| listed(admin, |_, plan| explain::routes(plan)).await),
        )
        .route(
            "/api/v1/clusters",
            get(async |State(admin): State<Admin>| listed(admin, |_, plan| explain::clusters(plan)).await),
        )
        .route(
            "/api/v1/endpoints",
            get(async |State(admin): State<Admin>| {
                listed(admin, |plane, plan| explain::endpoints(plan, &|id| plane.endpoints(id))).await
            }),
        )
}

fn answer(code: StatusCode, body: &Json) -> Response {
    (code, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

fn wrong(why: &str) -> Response {
    answer(StatusCode::BAD_REQUEST, &json!({ "error": why }))
}

/// Looks at the plan, away from the admin address's own thread: a plan may be large.
async fn listed(admin: Admin, look: impl Fn(&dyn DataPlane, &Plan) -> Json + Send + 'static) -> Response {
    let looked = tokio::task::spawn_blocking(move || {
        let mut out = Json::Null;
        admin.plane.inspect(&mut |plan| out = look(&*admin.plane, plan));
        out
    });
    match looked.await {
        Ok(out) => answer(StatusCode::OK, &out),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn explained(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    match Ask::of_query(&explain::query(&query.unwrap_or_default())) {
        Ok(ask) => {
            listed(admin, move |plane, plan| explain::explained(plan, &ask, Some(&|id| plane.endpoints(id)))).await
        }
        Err(why) => wrong(&why),
    }
}

/// What a query asks of records.
struct Wanted {
    filter: Filter,
    limit: Option<usize>,
}

impl Wanted {
    fn of(query: Option<String>) -> Result<Self, String> {
        let mut wanted = Self { filter: Filter::default(), limit: None };
        for (name, value) in explain::query(&query.unwrap_or_default()) {
            match name.as_str() {
                "filter" => {
                    for condition in value.split_whitespace() {
                        wanted.filter = wanted.filter.with(condition)?;
                    }
                }
                "limit" | "max" => wanted.limit = Some(value.parse().map_err(|_| format!("`{value}` is no number"))?),
                _ => return Err(format!("there is no `{name}` here: it is `filter`, `limit` or `max`")),
            }
        }
        Ok(wanted)
    }
}

async fn requests(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let wanted = match Wanted::of(query) {
        Ok(wanted) => wanted,
        Err(why) => return wrong(&why),
    };
    let mut found: Vec<Arc<Decision>> = admin.plane.decisions();
    found.retain(|decision| wanted.filter.holds(decision));
    found.sort_by_key(|decision| std::cmp::Reverse(decision.started));
    found.truncate(wanted.limit.unwrap_or(LISTED));
    let rows: Json = found.iter().map(|decision| explain::summary(decision)).collect();
    answer(StatusCode::OK, &rows)
}

async fn request(State(admin): State<Admin>, Path(id): Path<String>) -> Response {
    let found = admin.plane.decisions();
    let latest = found.iter().filter(|decision| *decision.id == *id).max_by_key(|decision| decision.started);
    match latest {
        Some(decision) => answer(StatusCode::OK, &explain::recorded(decision)),
        None => {
            let why = format!("no record of a request with the id `{id}`");
            let hint = "all failures and retries are kept, and a sample of the rest (--record-sample), the latest 1,024 of each worker";
            answer(StatusCode::NOT_FOUND, &json!({ "error": why, "hint": hint }))
        }
    }
}

async fn tap(State(admin): State<Admin>, RawQuery(query): RawQuery) -> Response {
    let wanted = match Wanted::of(query) {
        Ok(wanted) => wanted,
        Err(why) => return wrong(&why),
    };
    let Some(tap) = admin.plane.tap(wanted.filter) else {
        return answer(StatusCode::TOO_MANY_REQUESTS, &json!({ "error": "too many taps are open: close one" }));
    };
    let lines = Lines { tap, left: wanted.limit, told: 0 };
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}

/// A tap as a body: a line for each record, and one with `dropped` when some were lost.
struct Lines {
    tap: Tap,
    left: Option<usize>,
    /// Losses that were told.
    told: u64,
}

impl Stream for Lines {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        let dropped = self.tap.dropped.load(Ordering::Relaxed);
        if dropped > self.told {
            self.told = dropped;
            return Poll::Ready(Some(Ok(format!("{}\n", json!({ "dropped": dropped })).into())));
        }
        let Some(decision) = ready!(self.tap.records.poll_recv(cx)) else { return Poll::Ready(None) };
        self.left = self.left.map(|left| left - 1);
        Poll::Ready(Some(Ok(format!("{}\n", explain::summary(&decision)).into())))
    }
}
