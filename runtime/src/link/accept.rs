//! The server's handshake on a bare stream, where no HTTP server stands around it: for simulators and tests.

use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::{Link, LinkError, LinkOptions, Role, Transport, Watched, link_error};

impl Link {
    /// Answers the handshake of whoever connected, and agrees to the subprotocol.
    #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
    pub async fn accept(
        stream: impl Transport + 'static,
        subprotocol: &'static str,
        options: &LinkOptions,
    ) -> Result<Link, LinkError> {
        let agree = move |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
            Ok(response)
        };
        let stream = Watched::new(Box::new(stream));
        let socket = accept_hdr_async_with_config(stream, agree, Some(options.config())).await.map_err(link_error)?;
        Ok(Link::of(socket, Role::Server, options))
    }
}
