//! What is served at which address.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use futures_util::FutureExt;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use lockgate_runtime::Supervisor;
use lockgate_runtime::link::LinkOptions;
use tracing::{debug, error};

use crate::auth;
use crate::backbone::Health;
use crate::config::Service;
use crate::context::Context;
use crate::drain;
use crate::edge_session::Visitor;
use crate::encoding::Encoding;
use crate::metrics::{Counter, Figures, HandshakeReason};
use crate::peer::Peer;
use crate::server::accept::Visit;
use crate::server::upgrade::{EDGE_SUBPROTOCOL, Handshake, PendingSocket, agree};
use crate::{client_session, edge_session, rest};

/// What the handlers need.
#[derive(Clone)]
struct Routes {
    context: Context,
    supervisor: Supervisor,
}

/// The listener for agents, clients and probes.
pub(crate) fn router(context: Context, supervisor: Supervisor) -> Router {
    let serve = &context.config.server.serve;
    let mut router = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz));
    if serve.has(Service::Edge) {
        router = router.route("/v1/edge", get(edge));
    }
    if serve.has(Service::Client) {
        router = router.route("/v1/client", get(client));
    }
    let pages = if serve.has(Service::Api) { rest::router(context.clone()) } else { Router::new() };
    router.fallback(not_found).with_state(Routes { context, supervisor }).merge(pages)
}

/// The listener for metrics.
pub(crate) fn metrics_router(figures: Figures) -> Router {
    let render = move || {
        let text = figures.render();
        std::future::ready(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text))
    };
    Router::new().route("/metrics", get(render)).fallback(only_metrics)
}

/// The process runs: nothing more is promised.
async fn healthz() -> Response<Body> {
    json(StatusCode::OK, &serde_json::json!({ "status": "ok", "version": env!("CARGO_PKG_VERSION") }))
}

/// Whether it makes sense to send anyone here.
async fn readyz(State(routes): State<Routes>) -> Response<Body> {
    let health = routes.context.backbone.health().borrow().clone();
    let backbone = match health {
        Health::Up => None,
        Health::Down { reason } => Some(format!("the backbone is not available: {reason}")),
    };
    let draining = routes.context.drain.is_cancelled().then(|| "the gateway is stopping".to_owned());
    let reasons: Vec<String> = backbone.into_iter().chain(draining).collect();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons }))
}

/// No such page, or one that another instance has.
async fn not_found(State(routes): State<Routes>) -> Response<Body> {
    let serve = &routes.context.config.server.serve;
    let message = format!("this is not served here; this instance serves {serve} and probes (/healthz, /readyz)");
    refuse(StatusCode::NOT_FOUND, "not_found", &message)
}

async fn only_metrics() -> Response<Body> {
    refuse(StatusCode::NOT_FOUND, "not_found", "only /metrics is here")
}

async fn edge(State(routes): State<Routes>, mut request: Request<Body>) -> Response<Body> {
    let (Handshake { answer, pending, .. }, visit) = match routes.open_door(&mut request, &[(EDGE_SUBPROTOCOL, ())]) {
        Ok(opened) => opened,
        Err(refused) => return *refused,
    };
    let context = routes.context.clone();
    if context.config.tls.as_ref().is_some_and(|tls| tls.agents_ca_file.is_some()) && !visit.has_certificate {
        Counter::HandshakesFailed(HandshakeReason::Certificate).tick();
        debug!(address = %visit.address, "Agent without a certificate refused.");
        let message =
            "agents need a certificate here besides their token; name it by uplink.cert_file and uplink.key_file";
        return refuse(StatusCode::FORBIDDEN, "forbidden", message);
    }
    let visitor = match auth::agent(&context.key, request.headers(), context.clock.wall()) {
        Ok((agent, grant)) => Visitor { agent, grant },
        Err(error) => {
            Counter::HandshakesFailed(HandshakeReason::Token).tick();
            debug!(address = %visit.address, %error, "Agent refused.");
            let mut answer = refuse(StatusCode::UNAUTHORIZED, "unauthenticated", &error.to_string());
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return answer;
        }
    };
    let options =
        LinkOptions { ping_interval: Some(context.config.edge.ping_interval), ..LinkOptions::edge_at_gateway() };
    let door = Opened { pending, visit, options };
    routes.spawn("edge session", door, |peer, visit| async move {
        visit.slot.authenticated();
        edge_session::run(peer, visitor, context).await;
        drop(visit);
    });
    answer
}

async fn client(State(routes): State<Routes>, mut request: Request<Body>) -> Response<Body> {
    let spoken = Encoding::ALL.map(|encoding| (encoding.subprotocol(), encoding));
    let (Handshake { answer, pending, protocol: encoding }, visit) = match routes.open_door(&mut request, &spoken) {
        Ok(opened) => opened,
        Err(refused) => return *refused,
    };
    let context = routes.context.clone();
    let options = LinkOptions {
        messages: encoding.messages(),
        ping_interval: Some(context.config.client.ping_interval),
        ..LinkOptions::client_at_gateway()
    };
    let door = Opened { pending, visit, options };
    routes.spawn("client session", door, move |peer, visit| client_session::run(peer, encoding, visit.slot, context));
    answer
}

/// A connection that becomes a link as soon as our answer has gone out.
struct Opened {
    pending: PendingSocket,
    visit: Visit,
    options: LinkOptions,
}

impl Routes {
    /// The handshake, as far as it is the same for all; or what is answered instead.
    fn open_door<P: Copy>(
        &self,
        request: &mut Request<Body>,
        spoken: &[(&'static str, P)],
    ) -> Result<(Handshake<P>, Visit), Box<Response<Body>>> {
        let visit = request.extensions_mut().remove::<Visit>();
        let Some(visit) = visit.filter(|_| !self.context.drain.is_cancelled()) else {
            Counter::HandshakesFailed(HandshakeReason::Draining).tick();
            return Err(Box::new(not_now("unavailable", "the gateway is stopping", Duration::from_secs(1))));
        };
        if let Err(retry_after) = self.context.turnstiles.enter() {
            Counter::HandshakesFailed(HandshakeReason::Busy).tick();
            let message = "more connect at once than the gateway keeps up with; come back when it says";
            return Err(Box::new(not_now("limited", message, retry_after)));
        }
        match agree(request, spoken) {
            Ok(handshake) => Ok((handshake, visit)),
            Err(error) => {
                Counter::HandshakesFailed(error.reason()).tick();
                debug!(address = %visit.address, %error, "Handshake refused.");
                let status = error.status();
                Err(Box::new(refuse(status, "invalid", &error.to_string())))
            }
        }
    }

    /// Returns when the gateway stops and can wait for no session any more.
    fn last_moment(&self) -> impl Future<Output = ()> + Send + 'static {
        let (drain, cut_after) = (self.context.drain.clone(), drain::cut_after(&self.context.config.server));
        async move {
            drain.cancelled().await;
            tokio::time::sleep(cut_after).await;
        }
    }

    /// Gives the connection's session its task as soon as our answer has gone out; until then the handshake has one.
    fn spawn<Session>(
        &self,
        name: &'static str,
        door: Opened,
        session: impl FnOnce(Peer, Visit) -> Session + Send + 'static,
    ) where
        Session: Future<Output = ()> + Send + 'static,
    {
        let (routes, drain) = (self.clone(), self.context.drain.clone());
        let Opened { pending, visit, options } = door;
        let handshake = async move {
            match pending.link(&options).await {
                Ok(link) => {
                    let session = Box::pin(session(Peer::new(link, drain), visit));
                    routes.track(name, until(routes.last_moment(), session));
                }
                Err(error) => {
                    Counter::HandshakesFailed(error.reason()).tick();
                    debug!(address = %visit.address, %error, "Connection lost in its handshake.");
                }
            }
        };
        self.track("handshake", handshake);
    }

    fn track(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.context.sessions.track_future(task);
        self.supervisor.spawn(name, |_| task.map(Ok));
    }
}

/// A session, until it ends or is cut off.
async fn until(last_moment: impl Future<Output = ()>, session: Pin<Box<impl Future<Output = ()>>>) {
    tokio::select! {
        biased;
        // CANCEL-SAFE: it is given up for good; the peer sees its connection end.
        () = contain(session) => {}
        () = last_moment => debug!("A session did not end in time and was cut off."),
    }
}

/// A session that panics ends alone: its neighbours did nothing wrong. It holds nothing that others use,
/// but handles.
async fn contain(session: Pin<Box<impl Future<Output = ()>>>) {
    if AssertUnwindSafe(session).catch_unwind().await.is_err() {
        Counter::SessionsPanicked.tick();
        error!("A session panicked and was ended; this is a fault of the gateway. Please report it.");
    }
}

/// No, but later yes.
fn not_now(code: &str, message: &str, retry_after: Duration) -> Response<Body> {
    let mut answer = refuse(StatusCode::SERVICE_UNAVAILABLE, code, message);
    // The header has whole seconds only.
    let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
    let seconds = HeaderValue::from_str(&seconds.to_string()).expect("digits");
    answer.headers_mut().insert(RETRY_AFTER, seconds);
    answer
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    json(status, &serde_json::json!({ "error": { "code": code, "message": message } }))
}

fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string() + "\n"));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
