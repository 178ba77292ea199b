//! The accept loop: takes connections, turns away those beyond the bounds, and gives each other one its task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::header::CONNECTION;
use http::{HeaderValue, Response, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lockgate_runtime::Conn;
use lockgate_runtime::clock::Clock;
use lockgate_runtime::log_limit::LineLimit;
use lockgate_runtime::tls::ServerTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, trace, warn};

use crate::limits::{ACCEPT_REST, PAGE_CONNECTION_AGE_MAX, REFUSAL_TIMEOUT, REFUSALS_MAX, REQUEST_HEAD_BYTES_MAX};
use crate::lines::{LINE_INTERVAL, left_out};
use crate::metrics::{Counter, RefusedReason};
use crate::server::admission::{Admission, Slot};

/// What every connection needs.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) router: Router,
    /// What is spoken around HTTP.
    pub(crate) tls: Option<ServerTls>,
    pub(crate) admission: Admission,
    pub(crate) first_request_timeout: Duration,
    /// How long a connection has to finish when it is told to.
    pub(crate) close_timeout: Duration,
    /// A connection gets one page, or becomes a WebSocket.
    pub(crate) one_page: bool,
    pub(crate) clock: Clock,
}

/// Who is at the other end, put into each request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) address: SocketAddr,
    pub(crate) slot: Arc<Slot>,
    /// It has shown a certificate that is trusted.
    pub(crate) has_certificate: bool,
}

/// Accepts until `stop`; `spawn` gives a connection its task.
pub(crate) async fn run(
    listener: TcpListener,
    door: Door,
    stop: CancellationToken,
    mut spawn: impl FnMut(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>),
) {
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let lines = LineLimit::new(1, LINE_INTERVAL);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // CANCEL-SAFE: a connection that was not returned stays in the backlog.
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                Counter::ConnectionsAccepted.tick();
                match door.admission.admit(address.ip()) {
                    Ok(slot) => spawn(Box::pin(serve(stream, address, slot, door.clone(), stop.clone()))),
                    Err(reason) => {
                        Counter::ConnectionsRefused(reason).tick();
                        debug!(%address, reason = reason.as_str(), "Connection refused.");
                        if door.tls.is_some() {
                            // What is not within TLS would not be understood, and TLS is what is too dear now.
                            continue;
                        }
                        let answer = refusal(reason);
                        match Arc::clone(&refusals).try_acquire_owned() {
                            Ok(place) => spawn(Box::pin(refuse(stream, answer, place))),
                            // An error says that the peer has gone.
                            Err(_) => drop(stream.try_write(answer.as_bytes())),
                        }
                    }
                }
            }
            Err(error) => rest_after(&error, &stop, &lines, &door.clock).await,
        }
    }
}

/// Where all places are taken, one is free when somebody leaves. Places of the unknown are free again within
/// moments: who is sent away comes back soon, and not all at once.
fn refusal(reason: RefusedReason) -> String {
    let seconds = match reason {
        RefusedReason::Connections | RefusedReason::FirstRequest | RefusedReason::Tls => 5,
        RefusedReason::Unauthenticated | RefusedReason::Address => 1 + lockgate_runtime::random() % 3,
    };
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: {seconds}\r\nconnection: close\r\n\
         content-type: application/json\r\n\r\n\
         {{\"error\":{{\"code\":\"limited\",\"message\":\"too many connections; come back in a while\"}}}}\n"
    )
}

/// Says no. What the peer has sent, or is about to, is taken and thrown away for a moment: a socket that is closed
/// with something unread resets the connection, and the answer with it.
async fn refuse(mut stream: TcpStream, answer: String, _place: OwnedSemaphorePermit) {
    let answered = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        let mut head = stream.take(REQUEST_HEAD_BYTES_MAX as u64);
        tokio::io::copy(&mut head, &mut tokio::io::sink()).await
    };
    // Whoever is gone or slow misses it.
    drop(tokio::time::timeout(REFUSAL_TIMEOUT, answered).await);
}

/// A peer that gave up before we took it is no reason to wait; a system without free descriptors is.
async fn rest_after(error: &io::Error, stop: &CancellationToken, lines: &LineLimit<()>, clock: &Clock) {
    let gone = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    );
    if gone {
        return;
    }
    if let Some(lines) = lines.pass(&(), clock.now()) {
        warn!(%error, left_out = left_out(lines), "Cannot accept a connection; trying again in a moment.");
    }
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = tokio::time::sleep(ACCEPT_REST) => {}
    }
}

/// One connection, until it ends or has become a WebSocket, which is then a task of its own.
async fn serve(stream: TcpStream, address: SocketAddr, slot: Slot, door: Door, stop: CancellationToken) {
    let opened = tokio::time::timeout(door.first_request_timeout, open(stream, door.tls.as_ref()));
    let (has_certificate, conn) = match stop.run_until_cancelled(opened).await {
        None => return,
        Some(Ok(Ok(conn))) => (conn.has_certificate(), conn),
        Some(Ok(Err(error))) => {
            Counter::ConnectionsRefused(RefusedReason::Tls).tick();
            debug!(%address, %error, "No connection came about.");
            return;
        }
        Some(Err(_)) => {
            Counter::ConnectionsRefused(RefusedReason::FirstRequest).tick();
            debug!(%address, "TLS was not agreed on in time; connection closed.");
            return;
        }
    };
    let asked = Arc::new(Notify::new());
    let service = {
        let visit = Visit { address, slot: Arc::new(slot), has_certificate };
        let (router, asked) = (TowerToHyperService::new(door.router), Arc::clone(&asked));
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            asked.notify_one();
            request.extensions_mut().insert(visit.clone());
            let answer = router.call(request);
            async move { answer.await.map(|answer| if door.one_page { last(answer) } else { answer }) }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(door.first_request_timeout)
        .max_buf_size(REQUEST_HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(conn), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);

    let may_stay = tokio::select! {
        biased;
        // CANCEL-SAFE: polled again below; nothing is lost by waiting for something else as well.
        ended = connection.as_mut() => return log_end(address, ended),
        () = asked.notified() => true,
        // Told to finish below.
        () = stop.cancelled() => true,
        () = tokio::time::sleep(door.first_request_timeout) => false,
    };
    if !may_stay {
        Counter::ConnectionsRefused(RefusedReason::FirstRequest).tick();
        debug!(%address, "No request in time; connection closed.");
        return;
    }
    tokio::select! {
        biased;
        // CANCEL-SAFE: polled again below.
        ended = connection.as_mut() => return log_end(address, ended),
        () = stop.cancelled() => {}
        () = tokio::time::sleep(PAGE_CONNECTION_AGE_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = tokio::time::timeout(door.close_timeout, connection).await {
        log_end(address, ended);
    }
}

/// Agrees on TLS, where that is spoken here.
async fn open(stream: TcpStream, tls: Option<&ServerTls>) -> io::Result<Conn> {
    if tls.is_some() && !begins_tls(&stream).await? {
        tell_of_tls(stream).await;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not begin with TLS"));
    }
    Conn::accept(stream, tls).await
}

/// Whether the first byte is that of a TLS record with a handshake (RFC 8446, 5.1).
async fn begins_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 0 || first == [22])
}

/// For people who wrote http:// or ws://.
async fn tell_of_tls(mut stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n\
        {\"error\":{\"code\":\"invalid\",\"message\":\"this address speaks TLS; write wss:// or https://\"}}\n";
    // Who has sent more than we read would lose the answer with the connection.
    let mut head = [0; 4096];
    if stream.read(&mut head).await.is_ok() && stream.write_all(ANSWER).await.is_ok() {
        drop(stream.shutdown().await);
    }
}

/// Who has got a page goes, and takes no place among those who have not shown who they are.
fn last(mut answer: Response<Body>) -> Response<Body> {
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

fn log_end(address: SocketAddr, ended: Result<(), hyper::Error>) {
    match ended {
        Ok(()) => trace!(%address, "HTTP connection ended."),
        Err(error) => debug!(%address, %error, "HTTP connection ended with an error."),
    }
}
