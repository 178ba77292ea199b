//! Makes a connection: address → TCP → TLS → WebSocket handshake → [`Link`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderValue, Request, Uri};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;

use crate::link::{Link, LinkOptions, Role, Transport, Watched};
use crate::socket::tune;
use crate::tls::{TlsError, Trust, client_config};

/// From the first packet to the end of the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// LIMIT: of a refusal's body so much is shown to people.
const REFUSAL_CHARS_MAX: usize = 300;

/// Address of a gateway: `ws://HOST[:PORT][/PREFIX]`, or `wss://` for TLS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GatewayUrl {
    secure: bool,
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
    /// Empty, or begins with a slash and does not end with one.
    prefix: String,
}

/// Why a text is no address of a gateway. The message reads after the text: "…; do …".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no address of a gateway; {hint}")]
pub struct GatewayUrlError {
    hint: &'static str,
}

impl GatewayUrl {
    /// Whether the connection is encrypted.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Host, port and prefix of the path, for who connects by other means than a [`Dialer`].
    pub fn parts(&self) -> (&str, u16, &str) {
        (&self.host, self.port, &self.prefix)
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.secure) { host } else { format!("{host}:{}", self.port) }
    }
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

impl fmt::Display for GatewayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.secure { "wss" } else { "ws" }, self.authority(), self.prefix)
    }
}

impl FromStr for GatewayUrl {
    type Err = GatewayUrlError;

    fn from_str(text: &str) -> Result<GatewayUrl, GatewayUrlError> {
        let wrong = |hint| GatewayUrlError { hint };
        let general = "write it like wss://gateway.example.org or ws://127.0.0.1:8080";
        let uri: Uri = text.parse().map_err(|_| wrong(general))?;
        let secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            Some("http" | "https") => return Err(wrong("begin it with ws:// or wss://, not with http")),
            Some(_) | None => return Err(wrong(general)),
        };
        let authority = uri.authority().ok_or(wrong(general))?;
        if authority.as_str().contains('@') {
            return Err(wrong("leave out the user before the @; who you are is told by a token"));
        }
        if uri.query().is_some() {
            return Err(wrong("leave out the question mark and what follows"));
        }
        let path = uri.path().trim_end_matches('/');
        if path.ends_with("/v1/client") || path.ends_with("/v1/edge") {
            return Err(wrong("leave out /v1/client or /v1/edge at its end; it is added"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let has_port = authority.as_str().len() > authority.host().len();
        let port = match authority.port_u16() {
            Some(0) => return Err(wrong("give a port from 1 to 65535")),
            Some(port) => port,
            None if has_port => return Err(wrong("give a port from 1 to 65535")),
            None => default_port(secure),
        };
        if host.is_empty() {
            return Err(wrong(general));
        }
        Ok(GatewayUrl { secure, host, port, prefix: path.to_owned() })
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("cannot find the host {host:?}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the system says.
        source: io::Error,
    },
    /// Nobody listens there, or no way leads there. Of several addresses the last one's error.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The other end is not whom we trust, or speaks no TLS.
    #[error("cannot agree on TLS with {host:?}: {source}")]
    Tls {
        /// The name that its certificate must have.
        host: String,
        /// What is wrong.
        source: io::Error,
    },
    /// The host of a `wss://` address is no name that a certificate could have.
    #[error("{host:?} is no name that a certificate can have")]
    ServerName {
        /// The name.
        host: String,
    },
    /// The gateway answered, and refused.
    #[error("the gateway refused: {status}{}", shown(message))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said, shortened.
        message: String,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
    /// What answers is no gateway, or another version of one.
    #[error("there is no gateway that we understand: {source}")]
    Handshake {
        /// What is wrong.
        source: WsError,
    },
    /// The token has characters that no header can carry.
    #[error("the token has characters that a token can't have")]
    Token,
    /// It took too long.
    #[error("no connection within {after:?}")]
    Timeout {
        /// How long was waited.
        after: Duration,
    },
}

fn shown(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

impl DialError {
    /// Whether the token is the problem: the same one will not do next time either.
    pub fn is_unauthorized(&self) -> bool {
        matches!(self, DialError::Refused { status: 401 | 403, .. })
    }

    /// When the gateway wants us back, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            DialError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Makes connections to one path of a gateway.
#[derive(Clone)]
pub struct Dialer {
    url: GatewayUrl,
    path: &'static str,
    subprotocol: &'static str,
    options: LinkOptions,
    trust: Trust,
    /// Loaded once it is needed; used for `wss://` only.
    tls: Option<Arc<ClientConfig>>,
    connect_timeout: Duration,
}

impl Dialer {
    /// `path`: below the address, such as `/v1/edge`. Loads the certificates to trust only for `wss://`.
    pub fn new(
        url: GatewayUrl,
        path: &'static str,
        subprotocol: &'static str,
        options: LinkOptions,
        trust: Trust,
    ) -> Result<Dialer, TlsError> {
        let tls = if url.secure { Some(client_config(&trust)?) } else { None };
        Ok(Dialer { url, path, subprotocol, options, trust, tls, connect_timeout: CONNECT_TIMEOUT })
    }

    /// The same to another gateway. Certificates and remembered TLS sessions are shared.
    pub fn to(&self, url: GatewayUrl) -> Result<Dialer, TlsError> {
        let tls = match &self.tls {
            None if url.secure => Some(client_config(&self.trust)?),
            tls => tls.clone(),
        };
        Ok(Dialer { url, tls, ..self.clone() })
    }

    /// Waits no longer than this for a connection.
    #[must_use]
    pub fn with_connect_timeout(mut self, connect_timeout: Duration) -> Dialer {
        self.connect_timeout = connect_timeout;
        self
    }

    /// Where to.
    pub fn url(&self) -> &GatewayUrl {
        &self.url
    }

    /// One attempt. The token, if any, goes as `Authorization: Bearer`.
    pub async fn dial(&self, token: Option<&str>) -> Result<Link, DialError> {
        let deadline = Instant::now() + self.connect_timeout;
        let attempt = async {
            let tcp = self.connect(deadline).await?;
            let stream: Box<dyn Transport> = match self.tls.as_ref().filter(|_| self.url.secure) {
                None => Box::new(tcp),
                Some(tls) => {
                    let host = || self.url.host.clone();
                    let name = ServerName::try_from(host()).map_err(|_| DialError::ServerName { host: host() })?;
                    let connected = TlsConnector::from(tls.clone()).connect(name, tcp).await;
                    Box::new(connected.map_err(|source| DialError::Tls { host: host(), source })?)
                }
            };
            self.handshake(stream, token).await
        };
        timeout_at(deadline, attempt).await.unwrap_or(Err(DialError::Timeout { after: self.connect_timeout }))
    }

    /// Tries each address of the host in turn, and leaves time for the others.
    async fn connect(&self, deadline: Instant) -> Result<TcpStream, DialError> {
        let failed = |source| DialError::Resolve { host: self.url.host.clone(), source };
        let addresses: Vec<SocketAddr> =
            lookup_host((self.url.host.as_str(), self.url.port)).await.map_err(failed)?.collect();
        let mut last = failed(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        for (index, address) in addresses.iter().enumerate() {
            let left = u32::try_from(addresses.len() - index).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            let connected = timeout_at(Instant::now() + share, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).and_then(tune) {
                Ok(tcp) => return Ok(tcp),
                Err(source) => last = DialError::Connect { address: *address, source },
            }
        }
        Err(last)
    }

    async fn handshake(&self, stream: Box<dyn Transport>, token: Option<&str>) -> Result<Link, DialError> {
        let uri = format!("{}{}", self.url, self.path);
        let mut request = Request::builder()
            .uri(uri)
            .header("Host", self.url.authority())
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", generate_key())
            .header(SEC_WEBSOCKET_PROTOCOL, self.subprotocol)
            .body(())
            .map_err(|source| DialError::Handshake { source: WsError::HttpFormat(source) })?;
        if let Some(token) = token {
            let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| DialError::Token)?;
            bearer.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, bearer);
        }
        match client_async_with_config(request, Watched::new(stream), Some(self.options.config())).await {
            Ok((socket, _response)) => Ok(Link::of(socket, Role::Client, &self.options)),
            Err(WsError::Http(response)) => {
                let retry_after =
                    response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
                let body = response.body().as_deref().unwrap_or_default();
                let message: String = String::from_utf8_lossy(body)
                    .chars()
                    .filter(|character| !character.is_control())
                    .take(REFUSAL_CHARS_MAX)
                    .collect();
                let retry_after = retry_after.map(Duration::from_secs);
                Err(DialError::Refused { status: response.status().as_u16(), message, retry_after })
            }
            Err(source) => Err(DialError::Handshake { source }),
        }
    }
}

#[cfg(test)]
mod tests;
