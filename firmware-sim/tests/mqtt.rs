//! The promise: a room's sample reaches the broker at least once, its presence is told, and the broker inside serves
//! a subscriber that comes and goes.

#![cfg(feature = "broker")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[allow(dead_code, reason = "each test binary takes what it needs of it")]
mod support;

use std::collections::{BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use lockgate_sim::account::Account;
use lockgate_sim::publisher::{BrokerUrl, Confirmed, Identity, Message, Order, Publisher};
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, Publish, QoS};
use support::Sim;
use tokio::sync::mpsc;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

struct Subscriber {
    client: AsyncClient,
    events: EventLoop,
    /// What came before the subscription was confirmed: it must be acknowledged too, and in order.
    early: VecDeque<Publish>,
}

impl Subscriber {
    async fn connect(url: &str, id: &str, manual_acks: bool) -> Subscriber {
        let (host, port) = url.strip_prefix("mqtt://").unwrap().split_once(':').unwrap();
        let mut options = MqttOptions::new(id, host, port.parse().unwrap());
        options.set_clean_session(false).set_manual_acks(manual_acks);
        let (client, events) = AsyncClient::new(options, 1000);
        let mut subscriber = Subscriber { client, events, early: VecDeque::new() };
        subscriber.client.try_subscribe("sim/#", QoS::AtLeastOnce).unwrap();
        let mut early = VecDeque::new();
        let confirmed = |event| match event {
            Event::Incoming(Packet::SubAck(_)) => Some(()),
            Event::Incoming(Packet::Publish(publish)) => {
                early.push_back(publish);
                None
            }
            _ => None,
        };
        subscriber.until(confirmed).await;
        subscriber.early = early;
        subscriber
    }

    async fn until<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let search = async {
            loop {
                if let Some(found) = wanted(self.events.poll().await.unwrap()) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, search).await.expect("it comes")
    }

    async fn next(&mut self) -> Publish {
        if let Some(publish) = self.early.pop_front() {
            return publish;
        }
        self.until(|event| match event {
            Event::Incoming(Packet::Publish(publish)) => Some(publish),
            _ => None,
        })
        .await
    }
}

fn number(publish: &Publish) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(&publish.payload).ok()?["n"].as_u64()
}

fn broker() -> (Sim, String) {
    let mut sim = Sim::start(&["broker", "--listen", "127.0.0.1:0"]);
    let url = sim.event("listening")["url"].as_str().unwrap().to_owned();
    (sim, url)
}

#[tokio::test]
async fn rooms_publish_samples_in_order_and_tell_of_their_presence() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let (broker, url) = broker();
    let mut subscriber = Subscriber::connect(&url, "test", false).await;
    let journal_text = journal.to_str().unwrap();
    let mut rooms =
        Sim::start(&["devices", "--rooms", "1", "--mqtt", &url, "--interval", "5ms", "--journal", journal_text]);
    rooms.event("ready");
    let birth = subscriber.next().await;
    assert_eq!((birth.topic.as_str(), &birth.payload[..]), ("sim/room-1/availability", &br#"{"state":"online"}"#[..]));
    let mut seen = Vec::new();
    while seen.len() < 100 {
        let publish = subscriber.next().await;
        assert_eq!(publish.topic, "sim/room-1");
        seen.extend(number(&publish));
    }
    let ended = tokio::task::spawn_blocking(|| rooms.end());
    loop {
        let publish = subscriber.next().await;
        match number(&publish) {
            Some(n) => seen.push(n),
            None => break assert_eq!(&publish.payload[..], br#"{"state":"offline"}"#),
        }
    }
    ended.await.unwrap();
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    let account = Account::read(&std::fs::read_to_string(&journal).unwrap()).unwrap();
    let summary = account.settle(seen.iter().map(|&n| ("room-1", n)));
    assert!(summary.is_clean() && summary.unheard == 0, "{summary:?}");
    assert_eq!(summary.produced, seen.len() as u64);
    broker.end();
}

#[tokio::test]
async fn a_killed_simulator_is_told_offline_by_the_last_will() {
    let (broker, url) = broker();
    let mut subscriber = Subscriber::connect(&url, "test", false).await;
    let mut rooms = Sim::start(&["devices", "--rooms", "1", "--mqtt", &url, "--interval", "5ms"]);
    rooms.event("ready");
    while number(&subscriber.next().await).is_none() {}
    rooms.kill();
    loop {
        let publish = subscriber.next().await;
        if number(&publish).is_none() {
            assert_eq!(publish.topic, "sim/room-1/availability");
            assert_eq!(&publish.payload[..], br#"{"state":"offline"}"#);
            break;
        }
    }
    // Kept for whoever comes later.
    let mut late = Subscriber::connect(&url, "late", false).await;
    let kept = late.next().await;
    assert!(kept.retain && kept.topic == "sim/room-1/availability");
    broker.end();
}

#[tokio::test]
async fn the_broker_keeps_what_a_subscriber_that_is_away_has_not_acknowledged() {
    let (broker, url) = broker();
    let mut subscriber = Subscriber::connect(&url, "agent", true).await;
    let mut rooms = Sim::start(&["devices", "--rooms", "1", "--mqtt", &url, "--interval", "5ms"]);
    rooms.event("ready");
    let mut acknowledged = BTreeSet::new();
    for round in 1..=5 {
        while acknowledged.len() < round * 20 {
            let publish = subscriber.next().await;
            subscriber.client.try_ack(&publish).unwrap();
            acknowledged.extend(number(&publish));
        }
        // Some more are read and not acknowledged, as by an agent that is killed; an ack under way goes first.
        for _ in 0..3 {
            subscriber.next().await;
        }
        drop(subscriber);
        subscriber = Subscriber::connect(&url, "agent", true).await;
    }
    let last = *acknowledged.last().unwrap();
    assert_eq!(acknowledged, (1..=last).collect(), "none is missing");
    rooms.end();
    broker.end();
}

#[tokio::test]
async fn a_replayed_capture_arrives_in_order_with_its_retained_messages() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("input.jsonl");
    let lines =
        "{\"topic\":\"sim/a\",\"payload\":\"1\"}\n{\"topic\":\"sim/b\",\"payload_base64\":\"AP8=\",\"retain\":true}\n";
    std::fs::write(&file, lines).unwrap();
    let (broker, url) = broker();
    let mut subscriber = Subscriber::connect(&url, "test", false).await;
    let mut replay = Sim::start(&["replay", file.to_str().unwrap(), "--mqtt", &url, "--gap", "0s"]);
    let first = subscriber.next().await;
    let second = subscriber.next().await;
    assert_eq!((first.topic.as_str(), &first.payload[..]), ("sim/a", &b"1"[..]));
    assert_eq!((second.topic.as_str(), &second.payload[..]), ("sim/b", &[0, 255][..]));
    assert_eq!(replay.event("played")["messages"], 2);
    let mut late = Subscriber::connect(&url, "late", false).await;
    assert!(late.next().await.retain);
    broker.end();
}

/// Reads one MQTT packet: its first byte and its body.
fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    let kind = byte[0];
    let mut length = 0;
    for shift in (0..).step_by(7) {
        stream.read_exact(&mut byte).unwrap();
        length |= usize::from(byte[0] & 0x7F) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (kind, body)
}

/// A broker that takes one message and dies before it confirms it, then comes back without a memory.
fn forgetful_broker(listener: &TcpListener) {
    for confirm in [false, true, true] {
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(packet(&mut stream).0 >> 4, 1, "connect");
        stream.write_all(&[0x20, 2, 0, 0]).unwrap();
        let (kind, body) = packet(&mut stream);
        assert_eq!(kind >> 4, 3, "publish");
        if confirm {
            let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
            stream.write_all(&[0x40, 2, body[2 + topic], body[3 + topic]]).unwrap();
            let (kind, _) = packet(&mut stream);
            assert_eq!(kind >> 4, 14, "disconnect");
            return;
        }
    }
}

#[tokio::test]
async fn a_message_is_sent_again_until_the_broker_confirms_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url: BrokerUrl = format!("mqtt://{}", listener.local_addr().unwrap()).parse().unwrap();
    let broker = tokio::task::spawn_blocking(move || forgetful_broker(&listener));
    let (orders, orders_rx) = mpsc::channel(4);
    let (confirmed_tx, mut confirmed) = mpsc::channel(4);
    let identity = Identity { client_id: "room".into(), birth: None, will: None };
    let message = Message { topic: "sim/room-1".into(), payload: b"{}".to_vec(), retain: false };
    orders.send(Order::Publish { tag: 7, message }).await.unwrap();
    drop(orders);
    timeout(PATIENCE, Publisher::new(url, identity, orders_rx, confirmed_tx).run()).await.unwrap();
    assert_eq!(confirmed.recv().await, Some(Confirmed { tag: 7, sends: 2 }));
    broker.await.unwrap();
}

#[tokio::test]
async fn a_room_obeys_by_the_broker_and_counts_what_it_did() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal");
    let (broker, url) = broker();
    let mut subscriber = Subscriber::connect(&url, "test", false).await;
    let journal_text = journal.to_str().unwrap();
    let mut rooms =
        Sim::start(&["devices", "--rooms", "1", "--mqtt", &url, "--interval", "50ms", "--journal", journal_text]);
    rooms.event("ready");
    // Its first sample comes when it listens.
    while number(&subscriber.next().await).is_none() {}
    let order = r#"{"id":7,"command":"c-1","do":"set","value":2}"#;
    subscriber.client.try_publish("sim/room-1/set", QoS::AtLeastOnce, false, order).unwrap();
    let reply = loop {
        let publish = subscriber.next().await;
        if publish.topic == "sim/room-1/reply" {
            break publish;
        }
    };
    assert_eq!(&reply.payload[..], br#"{"reply":"done","id":7,"value":2}"#);
    let ended = tokio::task::spawn_blocking(|| rooms.end());
    while number(&subscriber.next().await).is_some() {}
    ended.await.unwrap();
    let text = std::fs::read_to_string(&journal).unwrap();
    let acted = text.lines().filter(|line| line.contains(r#""kind":"executed""#)).collect::<Vec<_>>();
    assert!(acted.len() == 1 && acted[0].contains(r#""command":"c-1","what":"set""#), "{acted:?}");
    broker.end();
}
