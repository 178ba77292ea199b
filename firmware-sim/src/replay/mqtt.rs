//! Plays the messages of a capture to a broker, in order, each until it is confirmed.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::publisher::{BrokerUrl, Identity, Message, Order, Publisher};

/// How a capture is played.
#[derive(Clone, Debug)]
pub struct MqttReplay {
    /// Where to.
    pub broker: BrokerUrl,
    /// Between two messages.
    pub gap: Duration,
    /// Passes over the capture; `None` for no end.
    pub passes: Option<u32>,
}

/// Plays `messages` and returns when the broker has confirmed the last one.
pub async fn play_messages(messages: &[Message], replay: MqttReplay) {
    let identity = Identity { client_id: format!("lockgate-replay-{}", std::process::id()), birth: None, will: None };
    let (orders, orders_rx) = mpsc::channel(1);
    let (confirmed_tx, mut confirmed) = mpsc::channel(1);
    let publisher = Publisher::new(replay.broker, identity, orders_rx, confirmed_tx);
    let play = async move {
        let mut pass = 0;
        while replay.passes.is_none_or(|passes| pass < passes) {
            for message in messages {
                let order = Order::Publish { tag: 0, message: message.clone() };
                if orders.send(order).await.is_err() || confirmed.recv().await.is_none() {
                    return;
                }
                sleep(replay.gap).await;
            }
            pass += 1;
        }
    };
    tokio::join!(play, publisher.run());
}
