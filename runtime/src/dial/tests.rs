//! Promises of dialling, against real sockets on the loopback.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::sync::Arc;

use bytes::Bytes;
use lockgate_proto::link::close::CloseCode;
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request as Asked, Response};

use std::path::Path;

use super::*;
use crate::link::{Received, Role};

const OPTIONS: LinkOptions = LinkOptions::client_at_client();

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn dialer(url: &str, ca_file: Option<&Path>) -> Dialer {
    Dialer::new(url.parse().unwrap(), "/v1/client", "test.v1", OPTIONS, Trust::besides(ca_file)).unwrap()
}

/// Shakes hands like a gateway, echoes one message, closes.
#[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
async fn serve_once(stream: impl Transport + 'static) -> (String, Option<String>) {
    let mut asked = (String::new(), None);
    let note = |request: &Asked, mut response: Response| -> Result<Response, ErrorResponse> {
        let bearer = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
        asked = (request.uri().to_string(), bearer);
        response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("test.v1"));
        Ok(response)
    };
    let stream: Box<dyn Transport> = Box::new(stream);
    let stream = accept_hdr_async(stream, note).await.unwrap().into_inner();
    let mut link = Link::over(stream, Vec::new(), Role::Server, &LinkOptions::client_at_gateway()).await;
    let Received::Message(message) = link.receive().await.unwrap() else { panic!("a message") };
    link.send(message).await.unwrap();
    link.close(CloseCode::ShuttingDown).await;
    asked
}

async fn talk_once(dialer: Dialer) {
    let mut link = dialer.dial(Some("secret")).await.unwrap();
    link.send(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(link.receive().await.unwrap(), Received::Message(Bytes::from_static(b"hello")));
    assert!(matches!(link.receive().await.unwrap(), Received::Closed(_)));
    link.finish().await;
}

#[tokio::test]
async fn a_connection_carries_token_and_subprotocol() {
    let (listener, port) = listener().await;
    let serving = async { serve_once(listener.accept().await.unwrap().0).await };
    let (asked, ()) = tokio::join!(serving, talk_once(dialer(&format!("ws://localhost:{port}/below/"), None)));
    assert_eq!(asked, ("/below/v1/client".to_owned(), Some("Bearer secret".to_owned())));
}

#[tokio::test]
async fn a_tls_connection_trusts_the_given_file_and_nothing_else() {
    crate::tls::install();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate.der().clone()], private).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, pem(certificate.der())).unwrap();

    let (listener, port) = listener().await;
    let acceptor = TlsAcceptor::from(config);
    let serving = async {
        let tcp = listener.accept().await.unwrap().0;
        serve_once(acceptor.accept(tcp).await.unwrap()).await;
        let tcp = listener.accept().await.unwrap().0;
        assert!(acceptor.accept(tcp).await.is_err());
    };
    let dialling = async {
        talk_once(dialer(&format!("wss://localhost:{port}"), Some(&ca_file))).await;
        let by_address = dialer(&format!("wss://127.0.0.1:{port}"), Some(&ca_file));
        assert!(matches!(by_address.dial(None).await, Err(DialError::Tls { .. })));
    };
    tokio::join!(serving, dialling);
}

/// PEM as RFC 7468 has it.
fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason() {
    let (listener, port) = listener().await;
    let serving = async {
        let mut tcp = listener.accept().await.unwrap().0;
        let _request = tcp.read(&mut [0; 2048]).await.unwrap();
        let body = "the token has\u{7} expired";
        let head = format!("HTTP/1.1 401 No\r\nRetry-After: 7\r\nContent-Length: {}\r\n\r\n", body.len());
        tcp.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        tcp.shutdown().await.unwrap();
    };
    let url = format!("ws://127.0.0.1:{port}");
    let dialer = dialer(&url, None);
    let ((), dialled) = tokio::join!(serving, dialer.dial(Some("old")));
    let error = dialled.err().unwrap();
    assert_eq!(error.to_string(), "the gateway refused: 401 (the token has expired)");
    assert!(error.is_unauthorized());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn who_never_answers_is_given_up_in_time() {
    let (listener, port) = listener().await;
    let dialer = dialer(&format!("ws://127.0.0.1:{port}"), None).with_connect_timeout(Duration::from_millis(50));
    let (accepted, dialled) = tokio::join!(listener.accept(), dialer.dial(None));
    assert!(accepted.is_ok());
    assert!(matches!(dialled, Err(DialError::Timeout { .. })));
}

#[tokio::test]
async fn a_closed_port_and_a_garbling_peer_are_told_apart() {
    let (listener, port) = listener().await;
    let dialer = dialer(&format!("ws://127.0.0.1:{port}"), None);
    let serving = async {
        let mut tcp = listener.accept().await.unwrap().0;
        tcp.write_all(b"SSH-2.0-whatever\r\n\r\n").await.unwrap();
        tcp.shutdown().await.unwrap();
    };
    let ((), garbled) = tokio::join!(serving, dialer.dial(None));
    assert!(matches!(garbled, Err(DialError::Handshake { .. })));
    drop(listener);
    assert!(matches!(dialer.dial(None).await, Err(DialError::Connect { .. })));
}

#[tokio::test]
async fn a_token_that_would_break_the_header_is_not_sent() {
    let (listener, port) = listener().await;
    let dialer = dialer(&format!("ws://127.0.0.1:{port}"), None);
    let (_accepted, dialled) = tokio::join!(listener.accept(), dialer.dial(Some("a\r\nHost: evil")));
    assert!(matches!(dialled, Err(DialError::Token)));
}

#[test]
fn addresses_are_read_and_written() {
    let written = |text: &str| text.parse::<GatewayUrl>().map(|url| url.to_string());
    assert_eq!(written("ws://127.0.0.1:8080/").as_deref(), Ok("ws://127.0.0.1:8080"));
    assert_eq!(written("wss://gw.example.org:443").as_deref(), Ok("wss://gw.example.org"));
    assert_eq!(written("ws://[::1]:8080/lockgate").as_deref(), Ok("ws://[::1]:8080/lockgate"));
    let ends = ["ws://x/v1/client", "ws://x/below/v1/edge/"];
    let others = ["", "gateway", "http://x", "ws://", "ws://u:p@x", "ws://x:0", "ws://x:99999", "ws://x/?a", "wss:/x"];
    for wrong in ends.into_iter().chain(others) {
        let error = wrong.parse::<GatewayUrl>().unwrap_err().to_string();
        assert!(error.starts_with("is no address of a gateway; "), "{wrong}: {error}");
    }
}
