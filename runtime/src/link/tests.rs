//! Promises of a link, between two ends in memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::link::close::CloseCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, ReadBuf};
use tokio::time::{Instant, interval};

use super::{Link, LinkError, LinkOptions, MessageKind, Received, Role};

const CLIENT: LinkOptions = LinkOptions::client_at_client();
const SERVER: LinkOptions = LinkOptions::client_at_gateway();

async fn pair() -> (Link, Link) {
    Link::pair(&CLIENT, &SERVER).await
}

fn message(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test(start_paused = true)]
async fn messages_arrive_in_order_and_whole() {
    let (mut client, mut server) = pair().await;
    let large = Bytes::from(vec![7; SERVER.send_bytes_max]);
    let sending = async {
        server.feed(message("one")).await.unwrap();
        server.send(large.clone()).await.unwrap();
        server.send(Bytes::new()).await.unwrap();
        server
    };
    let receiving = async {
        for expected in [message("one"), large.clone(), Bytes::new()] {
            assert_eq!(client.receive().await.unwrap(), Received::Message(expected));
        }
        client
    };
    tokio::join!(sending, receiving);
}

#[tokio::test(start_paused = true)]
async fn a_link_of_text_carries_text_and_sends_nothing_else() {
    let text = |options| LinkOptions { messages: MessageKind::Text, ..options };
    let (mut client, mut server) = Link::pair(&text(CLIENT), &text(SERVER)).await;
    server.send(message("größer")).await.unwrap();
    assert_eq!(client.receive().await.unwrap(), Received::Message(message("größer")));
    assert!(matches!(server.send(Bytes::from_static(&[0xff])).await, Err(LinkError::NotText)));
}

#[tokio::test(start_paused = true)]
async fn a_message_of_the_other_kind_breaks_the_link_and_the_error_says_which_is_expected() {
    for (client, server) in [(MessageKind::Text, MessageKind::Binary), (MessageKind::Binary, MessageKind::Text)] {
        let client = LinkOptions { messages: client, ..CLIENT };
        let (mut client, mut server) = Link::pair(&client, &LinkOptions { messages: server, ..SERVER }).await;
        client.send(message("{}")).await.unwrap();
        let error = server.receive().await.unwrap_err();
        assert_eq!(error.close_code(), CloseCode::BadFrame);
        let LinkError::WrongKind { got, expected } = error else { panic!("{error}") };
        assert_ne!(got, expected);
        assert!(error.to_string().contains(&format!("has {expected} messages only")), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_fed_leaves_while_the_other_direction_is_awaited() {
    let (mut client, mut server) = pair().await;
    client.feed(message("question")).await.unwrap();
    let (answer, question) = tokio::join!(client.receive(), async {
        let question = server.receive().await.unwrap();
        server.send(message("answer")).await.unwrap();
        question
    });
    assert_eq!(question, Received::Message(message("question")));
    assert_eq!(answer.unwrap(), Received::Message(message("answer")));
}

#[tokio::test(start_paused = true)]
async fn pings_keep_a_quiet_link_alive() {
    let (mut client, mut server) = pair().await;
    let quiet = Duration::from_secs(600);
    let both = async { tokio::join!(client.receive(), server.receive()) };
    assert!(tokio::time::timeout(quiet, both).await.is_err(), "neither end gave up");
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_given_up_after_the_idle_timeout() {
    let (mut client, _server) = pair().await;
    let before = Instant::now();
    let error = client.receive().await.unwrap_err();
    assert!(matches!(error, LinkError::Idle { .. }));
    assert_eq!((before.elapsed(), error.close_code()), (CLIENT.idle_timeout, CloseCode::IdleTimeout));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_nothing_is_given_up_and_memory_stays_bounded() {
    let (_client, mut server) = pair().await;
    let large = Bytes::from(vec![7; 64 * 1024]);
    let mut sent = 0;
    let error = loop {
        match server.send(large.clone()).await {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LinkError::Stalled { .. }));
    assert!(sent <= 2, "{sent} messages of the pipe's size were taken");
}

/// Passes on one byte in so long, towards the client; the other way at once.
async fn slow_line(client: DuplexStream, server: DuplexStream, pace: Duration) {
    let (mut client_reads, mut client_writes) = tokio::io::split(client);
    let (mut server_reads, mut server_writes) = tokio::io::split(server);
    let back = tokio::io::copy(&mut client_reads, &mut server_writes);
    let mut turns = interval(pace);
    let forth = async {
        while let Ok(byte) = server_reads.read_u8().await {
            turns.tick().await;
            client_writes.write_u8(byte).await.unwrap();
        }
    };
    drop(tokio::join!(back, forth));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_takes_longer_than_any_silence_may_last_arrives_and_the_link_goes_on() {
    const BYTES: usize = 2_000;
    // One byte fits where the line is not yet read, so that the sender waits for the reader, and not for a buffer.
    let ((near, line_near), (far, line_far)) = (tokio::io::duplex(1), tokio::io::duplex(1));
    let line = slow_line(line_near, line_far, Duration::from_millis(100));
    let talk = async {
        let (mut client, mut server) = tokio::join!(
            Link::over(near, Vec::new(), Role::Client, &CLIENT),
            Link::over(far, Vec::new(), Role::Server, &SERVER)
        );
        let before = Instant::now();
        let large = Bytes::from(vec![7; BYTES]);
        let sending = async { server.send(large.clone()).await };
        let (sent, received) = tokio::join!(sending, client.receive());
        sent.unwrap();
        assert_eq!(received.unwrap(), Received::Message(large));
        assert!(before.elapsed() > CLIENT.idle_timeout * 2, "it was slow: {:?}", before.elapsed());
        // The server heard nothing in all that time, and is not impatient now.
        let (heard, ()) = tokio::join!(server.receive(), async {
            client.send(message("thanks")).await.unwrap();
            drop(tokio::time::timeout(CLIENT.idle_timeout / 2, client.receive()).await);
        });
        assert_eq!(heard.unwrap(), Received::Message(message("thanks")));
    };
    tokio::select! {
        () = line => panic!("the line ended"),
        () = talk => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_in_the_middle_of_a_message_is_given_up() {
    let ((near, line_near), (far, mut line_far)) = (tokio::io::duplex(1), tokio::io::duplex(1));
    let mut client = Link::over(near, Vec::new(), Role::Client, &CLIENT).await;
    let mut server = Link::over(far, Vec::new(), Role::Server, &SERVER).await;
    let large = Bytes::from(vec![7; 1_000]);
    let before = Instant::now();
    let (sent, ()) = tokio::join!(server.send(large), async {
        for _ in 0..100 {
            line_far.read_u8().await.unwrap();
        }
    });
    assert!(matches!(sent, Err(LinkError::Stalled { .. })));
    assert!(before.elapsed() <= SERVER.idle_timeout * 2, "{:?}", before.elapsed());
    let (mut line_near, before) = (line_near, Instant::now());
    line_near.write_u8(0x82).await.unwrap();
    assert!(matches!(client.receive().await, Err(LinkError::Idle { .. })));
    assert!(before.elapsed() <= CLIENT.idle_timeout * 2, "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_peer_learns_why_a_link_is_closed() {
    let (client, mut server) = pair().await;
    let (closed, ()) = tokio::join!(server.receive(), client.close(CloseCode::SlowConsumer));
    let Received::Closed(closed) = closed.unwrap() else { panic!("closed") };
    assert_eq!((closed.code(), closed.reason.as_str()), (Some(CloseCode::SlowConsumer), "slow consumer"));
    assert!(matches!(server.receive().await, Err(LinkError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_close_is_answered_at_once_from_either_end() {
    for server_closes in [false, true] {
        let (client, server) = pair().await;
        let (closing, mut other) = if server_closes { (server, client) } else { (client, server) };
        let (before, words) = (Instant::now(), "ä".repeat(200));
        let (received, ()) = tokio::join!(
            async {
                let received = other.receive().await;
                other.finish().await;
                received
            },
            closing.close_with(4000, &words)
        );
        let Received::Closed(closed) = received.unwrap() else { panic!("closed") };
        assert_eq!((closed.number, closed.reason), (Some(4000), "ä".repeat(61)));
        assert_eq!(before.elapsed(), Duration::ZERO, "nobody waited for a timeout");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_connection_is_told_apart_from_a_close() {
    let (mut client, server) = pair().await;
    drop(server);
    assert!(matches!(client.receive().await, Err(LinkError::Cut)));
}

#[tokio::test(start_paused = true)]
async fn a_message_above_the_limit_breaks_the_link_of_whoever_sent_it() {
    let larger = LinkOptions { send_bytes_max: SERVER.receive_bytes_max + 1, ..CLIENT };
    let (mut client, mut server) = Link::pair(&larger, &SERVER).await;
    let too_large = Bytes::from(vec![0; SERVER.receive_bytes_max + 1]);
    let (received, _sent) = tokio::join!(server.receive(), client.send(too_large));
    let error = received.unwrap_err();
    assert!(matches!(error, LinkError::Unwanted { .. }), "{error:?}");
    assert_eq!(error.close_code(), CloseCode::BadFrame);
}

#[tokio::test(start_paused = true)]
async fn a_message_above_our_own_limit_is_not_sent() {
    let (mut client, _server) = pair().await;
    let too_large = Bytes::from(vec![0; CLIENT.send_bytes_max + 1]);
    assert!(matches!(client.send(too_large).await, Err(LinkError::TooLarge { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_received_message_survives_cancelled_receives() {
    let (mut client, mut server) = pair().await;
    let large = Bytes::from(vec![9; 1024 * 1024]);
    let sending = server.send(large.clone());
    let receiving = async {
        loop {
            tokio::select! {
                biased;
                () = tokio::task::yield_now() => {}
                received = client.receive() => break received.unwrap(),
            }
        }
    };
    let (sent, received) = tokio::join!(sending, receiving);
    sent.unwrap();
    assert_eq!(received, Received::Message(large));
}

/// A stream that keeps what is written until it is flushed, and whose first flush has to wait, as TLS may.
struct Keeping {
    stream: DuplexStream,
    kept: Vec<u8>,
    has_waited: bool,
}

impl AsyncRead for Keeping {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Keeping {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.kept.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.kept.is_empty() && !std::mem::replace(&mut self.has_waited, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Keeping { stream, kept, .. } = &mut *self;
        while !kept.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(context, kept))?;
            kept.drain(..written);
        }
        Pin::new(stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_stream_keeps_until_it_is_flushed_is_not_forgotten() {
    let (near, far) = tokio::io::duplex(1024);
    let keeping = Keeping { stream: near, kept: Vec::new(), has_waited: false };
    let mut server = Link::over(keeping, Vec::new(), Role::Server, &SERVER).await;
    let mut client = Link::over(far, Vec::new(), Role::Client, &CLIENT).await;
    let (before, all) = (Instant::now(), async { tokio::join!(server.send(message("hello")), client.receive()) });
    let (sent, received) = all.await;
    sent.unwrap();
    assert_eq!(received.unwrap(), Received::Message(message("hello")));
    assert_eq!(before.elapsed(), Duration::ZERO, "no ping had to push it out");
}
