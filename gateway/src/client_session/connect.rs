//! The first frame of a client: who it is. There is no other door.

use std::sync::Arc;

use lockgate_proto::ids::SessionId;
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::time::UnixMicros;
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body;
use lockgate_token::{Grant, Identity, SigningKey};
use tokio::time::timeout;

use crate::client_session::reply;
use crate::client_session::request::{Request, RequestError, decode};
use crate::context::Context;
use crate::encoding::Encoding;
use crate::metrics::{Counter, SessionKind};
use crate::peer::{End, Peer};

/// Who was let in.
pub(super) struct LetIn {
    pub(super) grant: Arc<Grant>,
    pub(super) session: SessionId,
    /// Name and version of the client's program, as it says.
    pub(super) client: String,
}

/// Lets a client in, or says why not.
pub(super) async fn connect(peer: &mut Peer, encoding: Encoding, context: &Context) -> Result<LetIn, End> {
    let asked = context.drain.run_until_cancelled(timeout(context.config.auth.timeout, first_request(peer, encoding)));
    // Nobody was let in yet: there is nothing to hand over.
    let asked = asked.await.ok_or_else(|| End::close(CloseCode::ShuttingDown, "the gateway is stopping"))?;
    let (id, token, client) = match asked {
        Ok(Ok(first)) => first,
        Ok(Err(Refused::Gone(end))) => return Err(end),
        Ok(Err(Refused::Told { id, error, code })) => return Err(refuse(peer, encoding, id, &error, code).await),
        Err(_) => {
            let error = unauthenticated("", "no token was shown in time");
            return Err(refuse(peer, encoding, reply::UNASKED, &error, CloseCode::Unauthorized).await);
        }
    };
    let grant = match check(&context.key, &token, context.clock.wall()) {
        Ok(grant) => Arc::new(grant),
        Err(error) => return Err(refuse(peer, encoding, id, &error, CloseCode::Unauthorized).await),
    };
    let session = SessionId(lockgate_runtime::random());
    let connected = wire::Connected {
        session: session.0,
        tenant: grant.tenant.as_str().to_owned(),
        subject: grant.subject().to_owned(),
        server_time_us: context.desk.now().0,
        ping_interval_ms: reply::millis(context.config.client.ping_interval),
    };
    peer.send(encoding.encode(id, Body::Connected(connected))).await?;
    Ok(LetIn { grant, session, client })
}

/// Why nobody is let in.
enum Refused {
    /// There is nobody to tell.
    Gone(End),
    Told {
        id: u32,
        error: RequestError,
        code: CloseCode,
    },
}

/// Waits for the first frame, which must be a `Connect`.
async fn first_request(peer: &mut Peer, encoding: Encoding) -> Result<(u32, String, String), Refused> {
    let frame = peer.hear().await.map_err(Refused::Gone)?;
    let asked = decode(encoding, frame).map_err(|error| {
        Counter::FramesBad(SessionKind::Client).tick();
        Refused::Gone(End::close(CloseCode::BadFrame, error.to_string()))
    })?;
    match asked.request {
        Ok(Request::Connect { token, client }) => Ok((asked.id, token, client)),
        Ok(_) => {
            let error = unauthenticated("", "the first request must be `connect`, with a token");
            Err(Refused::Told { id: asked.id, error, code: CloseCode::Unauthorized })
        }
        Err(error) => Err(Refused::Told { id: asked.id, error, code: CloseCode::BadFrame }),
    }
}

/// A person's token, good now.
fn check(key: &SigningKey, token: &str, now: UnixMicros) -> Result<Grant, RequestError> {
    let grant = key.verify(token, now).map_err(|error| unauthenticated("connect.token", &error.to_string()))?;
    match grant.identity {
        Identity::User { .. } => Ok(grant),
        Identity::Agent { .. } => {
            Err(unauthenticated("connect.token", "this is an agent's token; agents use /v1/edge"))
        }
    }
}

fn unauthenticated(field: &'static str, message: &str) -> RequestError {
    RequestError::new(wire::ErrorCode::Unauthenticated, field, message)
}

/// Tells the error, and how the session ends because of it.
async fn refuse(peer: &mut Peer, encoding: Encoding, id: u32, error: &RequestError, code: CloseCode) -> End {
    Counter::ClientErrors.tick();
    match peer.send(encoding.encode(id, reply::error(error))).await {
        Ok(()) => End::close(code, error.message.clone()),
        Err(end) => end,
    }
}
