//! One MQTT client that delivers what it is given, in order and until the broker has confirmed it.
//!
//! One message is under way at a time and kept here until its PUBACK: the MQTT library forgets what it had under way
//! when the broker forgets the session, so after each lost connection a new client is built and the message sent anew.

use std::pin::pin;
use std::time::Duration;

use lockgate_runtime::words::span;
use rumqttc::{AsyncClient, ClientError, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, QoS};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// Packets the library may hold before its loop takes them: one message, its birth message, a subscription, a
/// disconnect.
const REQUESTS_MAX: usize = 5;
const CONNECT_SECONDS_MAX: u64 = 5;
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const RECONNECT_AFTER: Duration = Duration::from_millis(300);
/// The library's own bound is 10 KiB, beyond which it reconnects for ever.
const PACKET_BYTES_MAX: usize = 1024 * 1024;

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    host: String,
    port: u16,
    login: Option<(String, String)>,
}

/// `mqtt://[user:password@]host[:port]` was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected mqtt://[user:password@]host[:port]")]
pub struct BadBrokerUrl;

impl std::str::FromStr for BrokerUrl {
    type Err = BadBrokerUrl;

    fn from_str(text: &str) -> Result<BrokerUrl, BadBrokerUrl> {
        let rest = text.strip_prefix("mqtt://").ok_or(BadBrokerUrl)?.trim_end_matches('/');
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login.split_once(':').ok_or(BadBrokerUrl)?), place),
            None => (None, rest),
        };
        // A bracketed IPv6 address has colons of its own.
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| BadBrokerUrl)?),
            _ => (place, 1883),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || port == 0 {
            return Err(BadBrokerUrl);
        }
        let login = login.map(|(user, password)| (user.to_owned(), password.to_owned()));
        Ok(BrokerUrl { host: host.to_owned(), port, login })
    }
}

/// One message, QoS 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Without wildcards.
    pub topic: String,
    /// Any bytes.
    pub payload: Vec<u8>,
    /// Kept by the broker for later subscribers.
    pub retain: bool,
}

/// What a publisher is asked to do, in order.
#[derive(Clone, Debug)]
pub enum Order {
    /// Deliver this; `tag` comes back in [`Confirmed`].
    Publish {
        /// The caller's own number.
        tag: u64,
        /// What to deliver.
        message: Message,
    },
    /// Drop the connection without a word, so that the broker speaks the last will, and come back after this long.
    Vanish(Duration),
}

/// The broker has a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// As given.
    pub tag: u64,
    /// How often it was sent; more than once, and subscribers may have it more than once.
    pub sends: u64,
}

/// Who a publisher is to the broker.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Unique at the broker.
    pub client_id: String,
    /// Sent at each connect, before all else.
    pub birth: Option<Message>,
    /// Sent by the broker when we vanish.
    pub will: Option<Message>,
}

/// A client of one broker.
pub struct Publisher {
    broker: BrokerUrl,
    identity: Identity,
    orders: mpsc::Receiver<Order>,
    confirmed: mpsc::Sender<Confirmed>,
    /// The message under way and how often it was sent.
    current: Option<(u64, Message, u64)>,
    /// The orders have ended.
    closing: bool,
    /// What to listen to, and where what is said there goes.
    listening: Option<(String, mpsc::Sender<Vec<u8>>)>,
}

/// What the broker is to confirm next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    Connection,
    Birth,
    Message,
    Nothing,
}

/// Why a connection is over.
enum Over {
    /// All is delivered and the orders have ended.
    Done,
    Lost(ConnectionError),
    Vanish(Duration),
}

impl Publisher {
    /// A publisher that does as `orders` say and reports to `confirmed`.
    pub fn new(
        broker: BrokerUrl,
        identity: Identity,
        orders: mpsc::Receiver<Order>,
        confirmed: mpsc::Sender<Confirmed>,
    ) -> Publisher {
        Publisher { broker, identity, orders, confirmed, current: None, closing: false, listening: None }
    }

    /// The same, which also listens to a topic. What comes while nobody takes it is dropped, as by a small device.
    #[must_use]
    pub fn listening(mut self, topic: String, sink: mpsc::Sender<Vec<u8>>) -> Publisher {
        self.listening = Some((topic, sink));
        self
    }

    /// Delivers until the orders end and the last is confirmed. Never gives up: who is in a hurry drops the future.
    pub async fn run(mut self) {
        let mut complained = false;
        loop {
            match self.connection().await {
                Over::Done => return,
                Over::Vanish(away) => {
                    info!(client = self.identity.client_id, away = %span(away), "Vanished.");
                    sleep(away).await;
                }
                Over::Lost(error) => {
                    if complained {
                        debug!(client = self.identity.client_id, %error, "Broker still lost.");
                    } else {
                        warn!(client = self.identity.client_id, %error, "Broker lost; trying again until it is back.");
                    }
                    complained = true;
                    sleep(RECONNECT_AFTER).await;
                    continue;
                }
            }
            complained = false;
        }
    }

    fn build(&self) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(&self.identity.client_id, &self.broker.host, self.broker.port);
        options.set_keep_alive(KEEP_ALIVE).set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        if let Some((user, password)) = &self.broker.login {
            options.set_credentials(user, password);
        }
        if let Some(will) = self.identity.will.clone() {
            options.set_last_will(LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, will.retain));
        }
        let (client, mut events) = AsyncClient::new(options, REQUESTS_MAX);
        let mut network = events.network_options();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_SECONDS_MAX);
        events.set_network_options(network);
        (client, events)
    }

    /// Lives through one connection.
    async fn connection(&mut self) -> Over {
        let (client, mut events) = self.build();
        let mut awaited = Awaited::Connection;
        loop {
            // The poll is kept until it is done: a fresh one at each order would start connecting anew.
            let mut poll = pin!(events.poll());
            let event = loop {
                tokio::select! {
                    biased;
                    event = &mut poll => break event,
                    // CANCEL-SAFE: nothing is taken until `recv` completes.
                    order = self.orders.recv(), if awaited == Awaited::Nothing && !self.closing => match order {
                        Some(Order::Publish { tag, message }) => {
                            self.current = Some((tag, message, 0));
                            awaited = self.send_next(&client);
                        }
                        Some(Order::Vanish(away)) => return Over::Vanish(away),
                        None => {
                            self.closing = true;
                            awaited = self.send_next(&client);
                        }
                    },
                }
            };
            match event {
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    info!(client = self.identity.client_id, "Connected to the broker.");
                    if let Some((topic, _)) = &self.listening {
                        note(client.try_subscribe(topic, QoS::AtLeastOnce));
                    }
                    awaited = match &self.identity.birth {
                        Some(birth) => {
                            note(publish(&client, birth));
                            Awaited::Birth
                        }
                        None => self.send_next(&client),
                    };
                }
                Ok(Event::Incoming(Packet::Publish(publish))) => {
                    if let Some((_, sink)) = &self.listening
                        && sink.try_send(publish.payload.to_vec()).is_err()
                    {
                        debug!(client = self.identity.client_id, "Too much at once; the device has missed it.");
                    }
                }
                Ok(Event::Incoming(Packet::PubAck(_))) => {
                    if awaited == Awaited::Message {
                        self.confirm().await;
                    }
                    awaited = self.send_next(&client);
                }
                Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) => return Over::Done,
                Ok(_) => {}
                Err(_) if self.closing && self.current.is_none() => return Over::Done,
                Err(error) => return Over::Lost(error),
            }
        }
    }

    /// Sends the message under way, if there is one, else goodbye if that was the last; says what to wait for.
    fn send_next(&mut self, client: &AsyncClient) -> Awaited {
        if let Some((_, message, sends)) = &mut self.current {
            *sends += 1;
            note(publish(client, message));
            return Awaited::Message;
        }
        if self.closing {
            note(client.try_disconnect());
        }
        Awaited::Nothing
    }

    async fn confirm(&mut self) {
        if let Some((tag, _, sends)) = self.current.take()
            && self.confirmed.send(Confirmed { tag, sends }).await.is_err()
        {
            debug!(tag, "Nobody wants to know of a confirmed message.");
        }
    }
}

fn publish(client: &AsyncClient, message: &Message) -> Result<(), ClientError> {
    client.try_publish(&message.topic, QoS::AtLeastOnce, message.retain, message.payload.clone())
}

/// The request channel has room by construction and its loop is ours; if it failed all the same, the PUBACK would
/// stay out, the keep-alive would end the connection, and the message would be sent anew.
fn note(requested: Result<(), ClientError>) {
    if let Err(error) = requested {
        warn!(%error, "The MQTT client takes no request.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_address_is_read_in_all_its_forms() {
        let read = |text: &str| text.parse::<BrokerUrl>().map(|url| (url.host, url.port, url.login));
        assert_eq!(read("mqtt://127.0.0.1:1884"), Ok(("127.0.0.1".into(), 1884, None)));
        assert_eq!(read("mqtt://broker/"), Ok(("broker".into(), 1883, None)));
        assert_eq!(read("mqtt://[::1]:1884"), Ok(("::1".into(), 1884, None)));
        assert_eq!(read("mqtt://[::1]"), Ok(("::1".into(), 1883, None)));
        let login = Some(("ann".to_owned(), "p:w@x".to_owned()));
        assert_eq!(read("mqtt://ann:p:w@x@broker:9"), Ok(("broker".into(), 9, login)));
        for bad in ["broker:1883", "mqtt://", "mqtt://broker:0", "mqtt://broker:port", "mqtt://ann@broker"] {
            assert_eq!(read(bad), Err(BadBrokerUrl), "{bad}");
        }
    }
}
