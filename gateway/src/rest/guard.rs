//! What holds for every page: so many at once, one that panics ends alone, and each is counted.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse as _;
use futures_util::FutureExt as _;
use http::{Response, StatusCode};
use tokio::sync::Semaphore;
use tracing::error;

use super::problem::Problem;
use crate::limits::{REST_REQUESTS_MAX, REST_WAITS_MAX};
use crate::metrics::{Counter, Timing};

/// Who finds no place comes back after so long.
const COME_BACK_AFTER: Duration = Duration::from_secs(1);

/// The forms of all paths: what a figure's label may be.
pub(super) const PATHS: &[&str] = &[
    "/v1/openapi.json",
    "/v1/sites/{site}/commands",
    "/v1/sites/{site}/commands/{id}",
    "/v1/sites/{site}/commands/{id}/cancel",
    "/v1/sites/{site}/devices",
    "/v1/sites/{site}/devices/{device}",
    "/v1/sites/{site}/devices/{device}/commands",
    "/v1/sites/{site}/history",
    "/v1/sites/{site}/loss",
    "/v1/sites/{site}/presence",
];

/// The places that there are.
#[derive(Clone)]
pub(super) struct Guard {
    places: Arc<Semaphore>,
    waits: Waits,
}

/// The places of requests that wait for something to happen: not all there are, so that the others have some left.
#[derive(Clone)]
pub(super) struct Waits(pub(super) Arc<Semaphore>);

impl Guard {
    pub(super) fn new() -> Guard {
        let waits = Waits(Arc::new(Semaphore::new(REST_WAITS_MAX)));
        Guard { places: Arc::new(Semaphore::new(REST_REQUESTS_MAX)), waits }
    }
}

/// Answers a request, within the bounds.
pub(super) async fn watch(State(guard): State<Guard>, mut request: Request, next: Next) -> Response<Body> {
    let begun = Instant::now();
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let path = PATHS.iter().find(|known| Some(**known) == path).copied().unwrap_or("other");
    request.extensions_mut().insert(guard.waits.clone());
    let answer = if let Ok(_place) = guard.places.try_acquire() {
        AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| panicked())
    } else {
        let detail = "as many requests as the gateway answers at once are under way; come back when it says";
        Problem::later(detail, COME_BACK_AFTER).into_response()
    };
    Timing::Rest.record(begun.elapsed());
    Counter::RestRequests(path, class(answer.status())).tick();
    answer
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..300 => "2xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// It holds nothing that others use, but handles: its neighbours go on.
fn panicked() -> Response<Body> {
    Counter::SessionsPanicked.tick();
    error!("A request panicked and was ended; this is a fault of the gateway. Please report it.");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "", "the gateway is at fault; its log has more").into_response()
}
