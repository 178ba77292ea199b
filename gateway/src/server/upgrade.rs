//! The WebSocket handshake: what a request must say, what it is answered, and how the socket comes out of HTTP.

use axum::body::Body;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use lockgate_runtime::Conn;
use lockgate_runtime::link::{Link, LinkOptions};
use tokio_tungstenite::tungstenite::handshake::server::create_response;

use crate::limits::UPGRADE_TIMEOUT;
use crate::metrics::HandshakeReason;

/// Subprotocol of agents.
pub(crate) const EDGE_SUBPROTOCOL: &str = "lockgate.edge.v1";

/// Why a request does not become a WebSocket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// A browser, a probe, a wrong address: no WebSocket was asked for, or not as the standard says.
    #[error("this address speaks WebSocket only: {0}")]
    NotWebSocket(String),
    /// A WebSocket, but none of the protocols it offers is spoken here.
    #[error("this address speaks the subprotocol {}; {}", spoken.join(" or "), offered_text(offered))]
    Subprotocol {
        /// What is spoken here.
        spoken: Vec<&'static str>,
        /// What was offered, as it came.
        offered: String,
    },
    /// The connection was lost, or went on as something else, after our answer.
    #[error("the connection did not become a WebSocket: {0}")]
    Lost(String),
}

fn offered_text(offered: &str) -> String {
    if offered.is_empty() {
        "the request names none in Sec-WebSocket-Protocol".to_owned()
    } else {
        format!("the request offers {offered:?}")
    }
}

impl HandshakeError {
    /// What it is in HTTP.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            HandshakeError::NotWebSocket(_) => StatusCode::UPGRADE_REQUIRED,
            HandshakeError::Subprotocol { .. } | HandshakeError::Lost(_) => StatusCode::BAD_REQUEST,
        }
    }

    /// The label under which this is counted.
    pub(crate) fn reason(&self) -> HandshakeReason {
        match self {
            HandshakeError::NotWebSocket(_) => HandshakeReason::NotWebSocket,
            HandshakeError::Subprotocol { .. } => HandshakeReason::Subprotocol,
            HandshakeError::Lost(_) => HandshakeReason::Lost,
        }
    }
}

/// An agreed handshake: the answer to give now, and the socket that there will be afterwards.
#[derive(Debug)]
pub(crate) struct Handshake<P> {
    pub(crate) answer: Response<Body>,
    pub(crate) pending: PendingSocket,
    /// What both speak.
    pub(crate) protocol: P,
}

/// Checks the request, which must offer one of the protocols that are spoken at its address: the first of them
/// that it does is agreed upon.
pub(crate) fn agree<P: Copy>(
    request: &mut Request<Body>,
    spoken: &[(&'static str, P)],
) -> Result<Handshake<P>, HandshakeError> {
    let upgrade = request.extensions_mut().remove::<OnUpgrade>();
    let mut head = Request::new(());
    head.method_mut().clone_from(request.method());
    *head.version_mut() = request.version();
    head.headers_mut().clone_from(request.headers());
    let mut answer = create_response(&head)
        .map_err(|error| HandshakeError::NotWebSocket(error.to_string()))?
        .map(|()| Body::empty());
    let upgrade = upgrade.ok_or_else(|| HandshakeError::NotWebSocket("no upgrade is possible here".to_owned()))?;

    let agreed = spoken.iter().find(|(name, _)| offers(request.headers(), name));
    let Some((name, protocol)) = agreed.copied() else {
        let spoken = spoken.iter().map(|(name, _)| *name).collect();
        return Err(HandshakeError::Subprotocol { spoken, offered: offered(request.headers()) });
    };
    answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
    Ok(Handshake { answer, pending: PendingSocket { upgrade }, protocol })
}

fn offers(headers: &HeaderMap, wanted: &str) -> bool {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim() == wanted)
}

fn offered(headers: &HeaderMap) -> String {
    let values: Vec<&str> =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(", ").chars().take(128).collect()
}

/// A socket that is still inside the HTTP connection.
#[derive(Debug)]
pub(crate) struct PendingSocket {
    upgrade: OnUpgrade,
}

impl PendingSocket {
    /// Waits until our answer has gone out, and takes the connection back from HTTP, with what the
    /// peer has sent right behind its request.
    pub(crate) async fn link(self, options: &LinkOptions) -> Result<Link, HandshakeError> {
        let lost = |text: &str| HandshakeError::Lost(text.to_owned());
        let upgraded = tokio::time::timeout(UPGRADE_TIMEOUT, self.upgrade)
            .await
            .map_err(|_| lost("the answer could not be sent in time"))?
            .map_err(|error| HandshakeError::Lost(error.to_string()))?;
        let parts = upgraded.downcast::<TokioIo<Conn>>().map_err(|_| lost("it runs over something else"))?;
        // A copy: what was read lies in a buffer of HTTP's, which would stay as long as the link.
        let link = parts.io.into_inner().link(parts.read_buf.to_vec(), options).await;
        link.map_err(|error| HandshakeError::Lost(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn the_subprotocol_is_found_among_several_and_over_several_lines() {
        assert!(offers(&headers(&["a, lockgate.edge.v1 ,b"]), EDGE_SUBPROTOCOL));
        assert!(offers(&headers(&["a", "lockgate.edge.v1"]), EDGE_SUBPROTOCOL));
        assert!(!offers(&headers(&["lockgate.edge.v2"]), EDGE_SUBPROTOCOL));
        assert!(!offers(&headers(&[]), EDGE_SUBPROTOCOL));
    }

    #[test]
    fn a_refusal_says_what_is_spoken_and_what_was_offered() {
        let spoken = vec!["one", "two"];
        let none = HandshakeError::Subprotocol { spoken: spoken.clone(), offered: String::new() }.to_string();
        assert!(none.contains("names none") && none.contains("the subprotocol one or two;"), "{none}");
        let other = HandshakeError::Subprotocol { spoken, offered: "mqtt".into() }.to_string();
        assert!(other.contains("\"mqtt\""), "{other}");
    }
}
