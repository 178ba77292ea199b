//! A source against a scripted broker: what it acknowledges when, and what it makes of repeats.

mod orders;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;

use bytes::BytesMut;
use lockgate_proto::seq::Lane;
use rumqttc::mqttbytes::v4::{ConnAck, Connect, ConnectReturnCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::commands::Directory;
use crate::config::Address;
use crate::config::SourceProfile;
use crate::source::mqtt_logic::Redelivery;
use crate::source::status::{SourceState, SourceView, StatusBoard};
use crate::testing::{Bench, NO_SYNC, profile, within_patience};
use lockgate_runtime::clock::Clock;

const PACKET_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A broker that does what its script says.
struct Broker(TcpListener);

impl Broker {
    async fn new() -> Broker {
        Broker(TcpListener::bind(("127.0.0.1", 0)).await.unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Lets the source in.
    async fn accept(&self, session_present: bool) -> (Conversation, Connect) {
        let (stream, _) = self.0.accept().await.unwrap();
        let mut conversation = Conversation { stream, read: BytesMut::new() };
        let Packet::Connect(connect) = conversation.hear().await else { panic!("a Connect comes first") };
        let connack = ConnAck { session_present, code: ConnectReturnCode::Success };
        conversation.say(Packet::ConnAck(connack)).await;
        (conversation, connect)
    }

    /// Lets the source in on a new session, and grants its subscription.
    async fn accept_new(&self) -> Conversation {
        let (mut conversation, connect) = self.accept(false).await;
        assert!(!connect.clean_session, "the broker is asked to remember us");
        conversation.grant(SubscribeReasonCode::Success(QoS::AtLeastOnce)).await;
        conversation
    }
}

struct Conversation {
    stream: TcpStream,
    read: BytesMut,
}

impl Conversation {
    async fn hear(&mut self) -> Packet {
        loop {
            match Packet::read(&mut self.read, PACKET_BYTES_MAX) {
                Ok(Packet::PingReq) => self.say(Packet::PingResp).await,
                Ok(packet) => return packet,
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {
                    assert!(self.stream.read_buf(&mut self.read).await.unwrap() > 0, "the source hung up");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn say(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, PACKET_BYTES_MAX).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The source may hang up on it.
    async fn say_if_heard(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, PACKET_BYTES_MAX).unwrap();
        drop(self.stream.write_all(&bytes).await);
    }

    async fn grant(&mut self, code: SubscribeReasonCode) {
        let Packet::Subscribe(subscribe) = self.hear().await else { panic!("a Subscribe follows") };
        let return_codes = subscribe.filters.iter().map(|_| code).collect();
        self.say(Packet::SubAck(SubAck { pkid: subscribe.pkid, return_codes })).await;
    }

    async fn publish(&mut self, pkid: u16, dup: bool, topic: &str, payload: &str) {
        let (qos, retain) = (if pkid == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }, false);
        let (topic, payload) = (format!("zigbee2mqtt/{topic}"), Bytes::copy_from_slice(payload.as_bytes()));
        self.say(Packet::Publish(Publish { dup, qos, retain, topic, pkid, payload })).await;
    }

    async fn hear_ack(&mut self) -> u16 {
        match self.hear().await {
            Packet::PubAck(ack) => ack.pkid,
            other => panic!("{other:?} instead of an acknowledgement"),
        }
    }

    /// Nothing but what was heard so far has arrived.
    fn has_said_nothing(&self) -> bool {
        let mut peek = [0; 1];
        self.read.is_empty()
            && self.stream.try_read(&mut peek).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }
}

struct World {
    bench: Bench,
    broker: Broker,
    view: SourceView,
    source: Option<MqttSource>,
    directory: RefCell<Directory>,
}

impl World {
    async fn new(sync_interval: Duration, window: usize, redelivery: Redelivery) -> World {
        World::with(sync_interval, window, redelivery, |_| profile("zigbee2mqtt")).await
    }

    async fn with(
        sync_interval: Duration,
        window: usize,
        redelivery: Redelivery,
        profile: impl FnOnce(&Path) -> SourceProfile,
    ) -> World {
        let bench = Bench::new(Clock::system(), sync_interval);
        let broker = Broker::new().await;
        let config = MqttConfig {
            name: "zigbee".to_owned(),
            url: Address::parse(&format!("mqtt://{}", broker.address())).unwrap(),
            client_id: "lockgate-test".to_owned(),
            username: None,
            password: None,
            ca_file: None,
            keep_alive: Duration::from_secs(60),
            message_bytes_max: 64 * 1024,
            window,
            redelivery,
            profile: profile(bench.folder.path()),
        };
        let mut board = StatusBoard::default();
        let status = board.add("zigbee");
        let mut directory = Directory::default();
        let orders = directory.add("zigbee", &config.profile);
        let source = MqttSource::new(config, bench.ingest.clone(), status, orders);
        let view = board.sources()[0].clone();
        World { bench, broker, view, source: Some(source), directory: RefCell::new(directory) }
    }

    /// Runs the source beside a script, and stops it when the script is done.
    async fn play(&mut self, script: impl AsyncFnOnce(&World, &CancellationToken)) {
        let stop = CancellationToken::new();
        let source = self.source.take().expect("a world is played once").run(stop.clone());
        let script = async {
            script(self, &stop).await;
            stop.cancel();
        };
        let (ended, ()) = within_patience(Box::pin(async { tokio::join!(source, script) })).await;
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_message_is_acknowledged_only_when_its_readings_are_on_disk() {
    let mut world = World::new(NO_SYNC, 20, Redelivery::Marked).await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            conversation.publish(1, false, "fridge", "{\"temperature\":4.5}").await;
            conversation.publish(2, false, "fridge", "{\"temperature\":4.6}").await;
            world.bench.until_records(2).await;
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            assert!(conversation.has_said_nothing());
            world.bench.queue.sync_now().await.unwrap();
            assert_eq!([conversation.hear_ack().await, conversation.hear_ack().await], [1, 2]);
        })
        .await;
}

#[tokio::test]
async fn half_of_the_window_waiting_makes_the_disk_hurry() {
    let mut world = World::new(NO_SYNC, 4, Redelivery::Marked).await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            conversation.publish(1, false, "fridge", "{\"temperature\":4.5}").await;
            conversation.publish(2, false, "fridge", "{\"temperature\":4.6}").await;
            assert_eq!([conversation.hear_ack().await, conversation.hear_ack().await], [1, 2]);
        })
        .await;
}

#[tokio::test]
async fn a_message_that_says_nothing_is_acknowledged_in_its_turn() {
    let mut world = World::new(Duration::from_millis(5), 20, Redelivery::Marked).await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            conversation.publish(1, false, "fridge", "{\"temperature\":4.5}").await;
            conversation.publish(2, false, "fridge", "").await;
            conversation.publish(3, false, "fridge", "{not json").await;
            let acks = [conversation.hear_ack().await, conversation.hear_ack().await, conversation.hear_ack().await];
            assert_eq!(acks, [1, 2, 3]);
        })
        .await;
    assert_eq!(world.view.counters.dead_letters.get(), 1);
}

#[tokio::test]
async fn a_topic_that_would_reorder_the_lines_it_is_shown_in_names_no_device() {
    let mut world = World::new(Duration::from_millis(5), 20, Redelivery::Marked).await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            conversation.publish(1, false, "fri\u{202e}dge", "{\"temperature\":4.5}").await;
            conversation.publish(2, false, "fridge", "{\"temperature\":4.5}").await;
            assert_eq!([conversation.hear_ack().await, conversation.hear_ack().await], [1, 2]);
        })
        .await;
    assert_eq!(world.bench.telemetry().await.len(), 1);
    assert_eq!(world.view.counters.dead_letters.get(), 1);
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_by_itself_and_silences_nobody() {
    let mut world = World::new(Duration::from_millis(5), 20, Redelivery::Marked).await;
    let large = format!("{{\"temperature\":{}}}", " ".repeat(400_000));
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            conversation.publish(1, false, "fridge", "{\"temperature\":4.5}").await;
            conversation.publish(2, false, "camera", &large).await;
            // No route reads it, however large it is.
            conversation.publish(3, false, "bridge/logging", &large).await;
            conversation.publish(4, false, "fridge", "{\"temperature\":4.6}").await;
            for pkid in 1..=4 {
                assert_eq!(conversation.hear_ack().await, pkid);
            }
        })
        .await;
    assert_eq!(world.bench.telemetry().await.len(), 2);
    assert_eq!(world.view.counters.dead_letters.get(), 1);
    assert_eq!(world.bench.ingest.dead_letter_counters().counts(), [("too_large", 1)]);
}

#[tokio::test]
async fn a_message_that_no_connection_carries_is_read_past_and_acknowledged_alone() {
    let mut world = World::new(Duration::from_millis(5), 20, Redelivery::Marked).await;
    let huge = "x".repeat(CONNECTION_BYTES_MIN + 2 * PACKET_OVERHEAD_BYTES);
    let huge = |pkid, dup| Publish {
        dup,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "zigbee2mqtt/camera".to_owned(),
        pkid,
        payload: huge.clone().into(),
    };
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            conversation.say_if_heard(Packet::Publish(huge(1, false))).await;
            // On this connection all comes again, and only that one is taken.
            let (mut conversation, connect) = world.broker.accept(true).await;
            assert!(!connect.clean_session);
            conversation.publish(2, false, "fridge", "{\"temperature\":4.5}").await;
            conversation.say(Packet::Publish(huge(1, true))).await;
            assert_eq!(conversation.hear_ack().await, 1);
            assert!(matches!(conversation.hear().await, Packet::Disconnect));
            let (mut conversation, _) = world.broker.accept(true).await;
            conversation.publish(2, true, "fridge", "{\"temperature\":4.5}").await;
            assert_eq!(conversation.hear_ack().await, 2);
        })
        .await;
    assert_eq!(world.bench.telemetry().await.len(), 1);
    assert_eq!(world.bench.ingest.dead_letter_counters().counts(), [("too_large", 1)]);
}

#[tokio::test]
async fn a_repeat_after_a_lost_connection_is_acknowledged_and_not_queued_twice() {
    let mut world = World::new(NO_SYNC, 20, Redelivery::Marked).await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            conversation.publish(1, false, "fridge", "{\"temperature\":4.5}").await;
            world.bench.until_records(1).await;
            drop(conversation);
            let (mut conversation, _) = world.broker.accept(true).await;
            conversation.publish(1, true, "fridge", "{\"temperature\":4.5}").await;
            // The same words under another packet id: another message.
            conversation.publish(2, true, "fridge", "{\"temperature\":4.5}").await;
            assert_eq!(conversation.hear_ack().await, 1);
            world.bench.queue.sync_now().await.unwrap();
            world.bench.until_records(2).await;
            world.bench.queue.sync_now().await.unwrap();
            assert_eq!(conversation.hear_ack().await, 2);
        })
        .await;
    assert_eq!(world.bench.telemetry().await.len(), 2);
    assert_eq!(world.view.counters.duplicates.get(), 1);
}

#[tokio::test]
async fn a_new_epoch_acknowledges_nothing_by_the_numbers_of_the_old_one() {
    let mut world = World::new(NO_SYNC, 20, Redelivery::Marked).await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            for pkid in 1..=3 {
                conversation.publish(pkid, false, "fridge", &format!("{{\"temperature\":{pkid}}}")).await;
            }
            world.bench.until_records(3).await;
            world.bench.queue.renew(lockgate_proto::seq::Epoch(43)).await.unwrap().unwrap();
            // What waited comes again, and is known.
            let (mut conversation, _) = world.broker.accept(true).await;
            for pkid in 1..=3 {
                conversation.publish(pkid, true, "fridge", &format!("{{\"temperature\":{pkid}}}")).await;
                assert_eq!(conversation.hear_ack().await, pkid);
            }
            conversation.publish(4, false, "fridge", "{\"temperature\":4}").await;
            world.bench.until_records(1).await;
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            assert!(conversation.has_said_nothing(), "it is not on disk yet");
            world.bench.queue.sync_now().await.unwrap();
            assert_eq!(conversation.hear_ack().await, 4);
        })
        .await;
    assert_eq!(world.bench.telemetry().await.len(), 3);
    assert_eq!(world.view.counters.duplicates.get(), 3);
}

#[tokio::test]
async fn a_broker_that_forgot_us_is_asked_anew_and_its_packet_ids_mean_nothing_old() {
    let mut world = World::new(NO_SYNC, 20, Redelivery::Marked).await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            conversation.publish(1, false, "fridge", "{\"temperature\":4.5}").await;
            world.bench.until_records(1).await;
            drop(conversation);
            let mut conversation = world.broker.accept_new().await;
            world.bench.queue.sync_now().await.unwrap();
            conversation.publish(1, false, "fridge", "{\"temperature\":4.5}").await;
            world.bench.until_records(2).await;
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            assert!(conversation.has_said_nothing(), "the old message's flush acknowledges nothing of the new session");
            world.bench.queue.sync_now().await.unwrap();
            assert_eq!(conversation.hear_ack().await, 1);
        })
        .await;
    assert_eq!(world.bench.telemetry().await.len(), 2);
}

#[tokio::test]
async fn a_broker_that_marks_no_repeats_doubles_nothing_where_that_is_configured() {
    let mut world = World::new(Duration::from_millis(5), 20, Redelivery::Unmarked).await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            conversation.publish(7, false, "fridge", "{\"temperature\":4.5}").await;
            conversation.publish(8, false, "fridge", "{\"temperature\":4.6}").await;
            world.bench.until_records(2).await;
            drop(conversation);
            let (mut conversation, _) = world.broker.accept(true).await;
            conversation.publish(1, false, "fridge", "{\"temperature\":4.5}").await;
            conversation.publish(2, false, "fridge", "{\"temperature\":4.6}").await;
            conversation.publish(3, false, "fridge", "{\"temperature\":4.7}").await;
            conversation.publish(4, false, "fridge", "{\"temperature\":4.5}").await;
            for pkid in 1..=4 {
                assert_eq!(conversation.hear_ack().await, pkid);
            }
        })
        .await;
    assert_eq!(world.bench.telemetry().await.len(), 4);
}

#[tokio::test]
async fn an_agent_that_stops_flushes_acknowledges_and_says_goodbye() {
    let mut world = World::new(NO_SYNC, 20, Redelivery::Marked).await;
    world
        .play(async |world, stop| {
            let mut conversation = world.broker.accept_new().await;
            conversation.publish(1, false, "fridge", "{\"temperature\":4.5}").await;
            world.bench.until_records(1).await;
            stop.cancel();
            assert_eq!(conversation.hear_ack().await, 1);
            assert!(matches!(conversation.hear().await, Packet::Disconnect));
        })
        .await;
}

#[tokio::test]
async fn what_a_full_disk_refuses_stays_with_the_broker_until_there_is_room() {
    let mut world = World::new(Duration::from_millis(5), 20, Redelivery::Marked).await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            world.bench.disk.set_room(Some(0));
            conversation.publish(1, false, "fridge", "{\"temperature\":4.5}").await;
            world.view.until(|state| matches!(state, SourceState::Paused { .. })).await;
            world.bench.disk.set_room(None);
            let (mut conversation, _) = world.broker.accept(true).await;
            conversation.publish(1, true, "fridge", "{\"temperature\":4.5}").await;
            assert_eq!(conversation.hear_ack().await, 1);
        })
        .await;
    assert_eq!(world.bench.telemetry().await.len(), 1);
    assert_eq!(world.view.counters.dropped.get(), 0);
}

#[tokio::test]
async fn a_subscription_that_is_refused_is_told() {
    let mut world = World::new(NO_SYNC, 20, Redelivery::Marked).await;
    world
        .play(async |world, _| {
            let (mut conversation, _) = world.broker.accept(false).await;
            conversation.grant(SubscribeReasonCode::Failure).await;
            world
                .view
                .until(|state| state.reason().is_some_and(|reason| reason.contains("refuses a subscription")))
                .await;
        })
        .await;
}

#[tokio::test]
async fn presence_is_told_when_it_changes_and_a_repeat_waits_for_what_told_it() {
    let mut world = World::new(NO_SYNC, 20, Redelivery::Marked).await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            for (pkid, state) in [(1, "offline"), (2, "offline"), (3, "online"), (4, "online")] {
                conversation.publish(pkid, false, "fridge/availability", &format!("{{\"state\":\"{state}\"}}")).await;
            }
            // Of no events lane, so that it says when all before it was heard.
            conversation.publish(5, false, "fridge", "{\"temperature\":4.5}").await;
            world.bench.until_records(1).await;
            assert!(conversation.has_said_nothing(), "the records that told it are not on disk");
            world.bench.queue.sync_now().await.unwrap();
            for pkid in 1..=5 {
                assert_eq!(conversation.hear_ack().await, pkid);
            }
        })
        .await;
    let online = |record| match record {
        lockgate_proto::record::Record::Presence(presence) => presence.online,
        other => panic!("no presence: {other:?}"),
    };
    let told: Vec<_> = world.bench.records(Lane::Events).await.into_iter().map(online).collect();
    assert_eq!(told, [false, true]);
}

#[tokio::test]
async fn availability_is_presence() {
    let mut world = World::new(Duration::from_millis(5), 20, Redelivery::Marked).await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            conversation.publish(1, false, "fridge/availability", "{\"state\":\"offline\"}").await;
            assert_eq!(conversation.hear_ack().await, 1);
        })
        .await;
    let events = world.bench.records(Lane::Events).await;
    assert!(matches!(&events[0], lockgate_proto::record::Record::Presence(presence) if !presence.online));
}

/// What the source says of somebody who answers like this, or not at all.
async fn said_of(answer: &'static [u8]) -> String {
    let mut world = World::new(NO_SYNC, 20, Redelivery::Marked).await;
    let said = std::cell::RefCell::new(String::new());
    world
        .play(async |world, _| {
            let (mut stream, _) = world.broker.0.accept().await.unwrap();
            stream.read_exact(&mut [0; 1]).await.unwrap();
            stream.write_all(answer).await.unwrap();
            drop(stream);
            world.view.until(|state| matches!(state, SourceState::Retrying { .. })).await;
            *said.borrow_mut() = world.view.state().reason().unwrap().replace(&world.broker.address().to_string(), "A");
        })
        .await;
    said.into_inner()
}

#[tokio::test]
async fn what_is_no_broker_is_told_in_plain_words() {
    let http = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: Tue, 25 Nov 2025 12:00:00 GMT\r\n\r\n \
                and so on, as pages do, until there is enough of it for a packet of any kind";
    let told = said_of(http.as_bytes()).await;
    assert!(told.starts_with("what answers at mqtt://A is no MQTT broker; correct `url`"), "{told}");
    // An alert of somebody who wants TLS.
    let told = said_of(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x0a]).await;
    assert!(told.contains("write mqtts:// for a broker that wants TLS"), "{told}");
    let told = said_of(b"").await;
    assert!(told.starts_with("what answers at mqtt://A closes the connection without a word of MQTT"), "{told}");
    let told = said_of(&[0x20, 0x02, 0x00, 0x05]).await;
    assert!(
        told.starts_with("the broker mqtt://A does not let in an agent that tells no user; add `username`"),
        "{told}"
    );
}
