//! An MQTT broker: connected, subscribed, heard; each message acknowledged when its readings are on disk.
//!
//! With `hear`, which queues what is said, `publish`, by which devices are told something, and `refusal`, which words
//! its errors, the only file that knows `rumqttc`. Each connection has a client of its own, so that nothing of a dead connection (a queued
//! acknowledgement, a buffered message) can pass for one of the next. The broker keeps the session under our client
//! id, and what we have not acknowledged.

mod error;
mod hear;
mod publish;
mod read_past;
mod refusal;

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use lockgate_codec::MessageReader;
use lockgate_proto::backoff::Backoff;
use lockgate_runtime::tls;
use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, Outgoing, Packet, Publish, QoS, SubAck,
    SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::error::{MqttError, too_large};
use self::publish::{Publishing, sleep_or_never};
use super::mqtt_logic::{AckOrder, RedeliveryWatch};
use super::orders_logic::Orders;
use super::presence_logic::PresenceMemory;
use super::rest_logic::Rest;
use super::status::{SourceCounters, StatusReporter};
use crate::commands::{Job, SourceOrders};
use crate::config::MqttConfig;
use crate::ingest::{Ingest, Watcher};
use crate::queue::{Batch, Progress};

/// First and longest wait before the broker is tried again.
const RECONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(15));

/// Seconds for a TCP connection, TLS and the broker's answer.
const CONNECT_SECONDS_MAX: u64 = 10;

/// How long an agent that was told to stop waits for its last acknowledgements to be possible, and sent.
const LEAVE_TIME_MAX: Duration = Duration::from_secs(2);

/// LIMIT: requests to rumqttc that wait; when full, acknowledgements wait with us.
const REQUESTS_WAITING_MAX: usize = 64;

/// LIMIT: bytes of a payload that a connection can carry, where `message_max` is not more. A message beyond
/// `message_max` and within this is refused by itself, and acknowledged; a larger one ends the connection, and is
/// [read past](read_past). Memory for it is taken when it comes, and given back.
const CONNECTION_BYTES_MIN: usize = 4 * 1024 * 1024;

/// Bytes of a packet beside its payload: header, topic, id.
const PACKET_OVERHEAD_BYTES: usize = 5 + 2 + 65_535 + 2;

type Poll = Pin<Box<dyn Future<Output = (EventLoop, Result<Event, ConnectionError>)> + Send>>;

/// By value, so that an unfinished poll can be kept while the loop does other things: a dropped one may
/// have taken an acknowledgement and not written it.
fn poll(mut events: EventLoop) -> Poll {
    Box::pin(async move {
        let event = events.poll().await;
        (events, event)
    })
}

enum Input {
    Stop,
    Event(Box<EventLoop>, Result<Event, ConnectionError>),
    Durable,
    Restart,
    Job(Job),
    Overdue,
}

/// One broker with all that hears it.
pub struct MqttSource {
    config: MqttConfig,
    ingest: Ingest,
    status: StatusReporter,
    backoff: Backoff,
    reader: MessageReader,
    progress: watch::Receiver<Progress>,
    /// Of the queue, when the present connection began: numbers of before and after are not compared.
    renewals: u64,
    order: AckOrder,
    repeats: RedeliveryWatch,
    presence: PresenceMemory,
    watcher: Watcher,
    rest: Rest,
    /// By this process, at a broker that has kept our session since.
    subscribed: bool,
    /// What a full disk has refused of a message that is still in hand.
    refused: VecDeque<(Batch, usize)>,
    incoming: SourceOrders,
    orders: Orders<Job>,
    publishing: Publishing,
}

impl MqttSource {
    /// Connects to nothing yet.
    pub fn new(config: MqttConfig, ingest: Ingest, status: StatusReporter, incoming: SourceOrders) -> MqttSource {
        MqttSource {
            status,
            backoff: Backoff::new(RECONNECT_BACKOFF.0, RECONNECT_BACKOFF.1),
            reader: config.profile.messages(),
            progress: ingest.progress(),
            renewals: 0,
            order: AckOrder::new(config.window),
            repeats: RedeliveryWatch::new(config.redelivery),
            presence: PresenceMemory::default(),
            watcher: ingest.watcher(&config.name, &config.profile),
            rest: Rest::default(),
            subscribed: false,
            refused: VecDeque::new(),
            incoming,
            orders: Orders::new(lockgate_runtime::random()),
            publishing: Publishing::default(),
            ingest,
            config,
        }
    }

    /// Hears the broker until told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let end = self.connection(&stop).await;
            self.order = AckOrder::new(self.config.window);
            self.unconfirmed().await;
            match end {
                Ok(()) => break,
                Err(MqttError::NoRoom(error)) => {
                    self.status.paused(error);
                    self.wait_for_room(&stop).await;
                }
                Err(MqttError::Renewed) => {}
                Err(error @ MqttError::TooLarge { .. }) => {
                    self.status.retrying(error);
                    self.get_past(&stop).await;
                }
                Err(error) => {
                    self.status.retrying(error);
                    let wait = self.backoff.next_delay(lockgate_runtime::random());
                    self.rest_without_broker(wait, &stop).await;
                }
            }
        }
        Ok(())
    }

    /// Past messages of QoS 1 that are too large for a connection. Those of QoS 0 are gone with it.
    async fn get_past(&mut self, stop: &CancellationToken) {
        let past = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            // CANCEL-SAFE: what is not acknowledged comes again.
            past = self.read_past() => past,
        };
        match past {
            Ok(1..) => return,
            Ok(0) => {}
            Err(error) => self.status.retrying(error),
        }
        let wait = self.backoff.next_delay(lockgate_runtime::random());
        self.rest_without_broker(wait, stop).await;
    }

    /// One connection, until it breaks (`Err`) or the source is told to stop.
    async fn connection(&mut self, stop: &CancellationToken) -> Result<(), MqttError> {
        let (client, mut events) = AsyncClient::new(self.options()?, REQUESTS_WAITING_MAX);
        events.network_options.set_connection_timeout(CONNECT_SECONDS_MAX);
        self.renewals = self.progress.borrow().renewals;
        let mut pending = poll(events);
        let mut let_in = false;
        loop {
            let overdue = self.overdue_at();
            let input = tokio::select! {
                biased;
                () = stop.cancelled() => Input::Stop,
                // CANCEL-SAFE: nothing is taken until `recv` completes.
                Some(job) = self.incoming.jobs.recv() => Input::Job(job),
                // CANCEL-SAFE: what rings unheard is kept for the next one.
                () = self.incoming.restart.notified() => Input::Restart,
                // CANCEL-SAFE: a timer holds nothing.
                () = sleep_or_never(overdue) => Input::Overdue,
                // CANCEL-SAFE: the future is kept, and goes on where it was.
                (events, event) = &mut pending => Input::Event(Box::new(events), event),
                // CANCEL-SAFE: a watch holds nothing.
                Ok(()) = self.progress.changed(), if !self.order.is_empty() => Input::Durable,
            };
            match input {
                Input::Stop => {
                    self.leave(&client, pending).await;
                    return Ok(());
                }
                Input::Event(events, Ok(event)) => {
                    let_in |= matches!(event, Event::Incoming(Packet::ConnAck(_)));
                    pending = poll(*events);
                    self.event(&client, event).await?;
                }
                Input::Event(mut events, Err(source)) => {
                    self.leftovers(&mut events).await?;
                    let (url, bytes_max) = (self.config.url.to_string(), self.connection_bytes_max());
                    return Err(match too_large(&source) {
                        Some(bytes) => MqttError::TooLarge { url, bytes, bytes_max },
                        None => MqttError::Connection { why: refusal::of_connection(&source, &self.config, let_in) },
                    });
                }
                Input::Job(job) => self.tell(&client, job).await,
                Input::Restart => return Err(MqttError::Restarted),
                Input::Overdue => self.settle_overdue().await,
                Input::Durable => {}
            }
            self.acknowledge(&client, *self.progress.clone().borrow())?;
            if self.order.sync_is_due(self.progress.borrow().durable)
                && let Some(progress) = self.ingest.sync().await
            {
                self.acknowledge(&client, progress)?;
            }
        }
    }

    async fn event(&mut self, client: &AsyncClient, event: Event) -> Result<(), MqttError> {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => {
                self.repeats.connected(connack.session_present);
                debug!(source = %self.status.name(), connack.session_present, "The broker has let us in.");
                if connack.session_present && self.subscribed {
                    // Asking again would make the broker repeat every retained message.
                    self.heard();
                    return Ok(());
                }
                self.subscribe(client)
            }
            Event::Incoming(Packet::SubAck(suback)) => {
                self.granted(&suback)?;
                self.heard();
                Ok(())
            }
            Event::Incoming(Packet::Publish(publish)) => {
                let since = self.ingest.now();
                let figures = |counters: &SourceCounters| (counters.readings.get(), counters.dead_letters.get());
                let before = figures(self.status.counters());
                let needs = self.message(&publish).await?;
                if publish.qos != QoS::AtMostOnce {
                    self.order.arrived(publish.pkid, needs);
                }
                let after = figures(self.status.counters());
                let (used, refused) = (after.0 - before.0, after.1 - before.1);
                if let Some(rest) = self.rest.after(self.ingest.now().since(since), used, refused) {
                    tokio::time::sleep(rest).await;
                }
                Ok(())
            }
            Event::Incoming(Packet::PubAck(taken)) => {
                self.confirmed(taken.pkid).await;
                Ok(())
            }
            Event::Outgoing(Outgoing::Publish(pkid)) => {
                self.publishing.written(pkid);
                Ok(())
            }
            Event::Incoming(_) | Event::Outgoing(_) => Ok(()),
        }
    }

    fn granted(&mut self, suback: &SubAck) -> Result<(), MqttError> {
        let topics = self.config.profile.topics();
        let refused = suback.return_codes.iter().zip(&topics).find(|(code, _)| **code == SubscribeReasonCode::Failure);
        if let Some((_, topic)) = refused {
            return Err(MqttError::Subscription { topic: topic.clone() });
        }
        self.subscribed = true;
        Ok(())
    }

    fn heard(&mut self) {
        self.publishing.is_ready = true;
        self.backoff.reset();
        self.status.up();
    }

    /// Once in each start, even on a session that the broker has kept: the profile may have changed since.
    fn subscribe(&self, client: &AsyncClient) -> Result<(), MqttError> {
        let filters = self.config.profile.topics().into_iter().map(|path| SubscribeFilter::new(path, QoS::AtLeastOnce));
        client.try_subscribe_many(filters).map_err(|_| MqttError::Stuck)
    }

    fn acknowledge(&mut self, client: &AsyncClient, progress: Progress) -> Result<(), MqttError> {
        if progress.renewals != self.renewals {
            return Err(MqttError::Renewed);
        }
        while let Some(pkid) = self.order.next(progress.durable) {
            let (topic, payload) = (String::new(), Bytes::new());
            let acknowledged = Publish { dup: false, qos: QoS::AtLeastOnce, retain: false, topic, pkid, payload };
            if client.try_ack(&acknowledged).is_err() {
                // Full: rumqttc tells of each request that it takes, and then it is tried again.
                break;
            }
            self.order.acknowledged();
        }
        Ok(())
    }

    /// Lets go on purpose: what was heard reaches the disk and is acknowledged, so that it need not come again.
    async fn leave(&mut self, client: &AsyncClient, mut pending: Poll) {
        let leave = async {
            if let Some(progress) = self.ingest.sync().await
                && self.acknowledge(client, progress).is_err()
            {
                return;
            }
            if client.try_disconnect().is_err() {
                return;
            }
            loop {
                let (events, event) = pending.await;
                match event {
                    Ok(Event::Outgoing(Outgoing::Disconnect)) | Err(_) => return,
                    // What still comes is not taken: it is not acknowledged, and comes again.
                    Ok(_) => pending = poll(events),
                }
            }
        };
        if tokio::time::timeout(LEAVE_TIME_MAX, leave).await.is_err() {
            debug!(source = %self.status.name(), "The broker did not take our leave in time.");
        }
    }

    /// Tries to queue what the disk has refused, until it takes it.
    async fn wait_for_room(&mut self, stop: &CancellationToken) {
        while let Some((batch, count)) = self.refused.pop_front() {
            match self.ingest.append(&batch, count, &self.status).await {
                Ok(_) => self.backoff.reset(),
                Err(error) => {
                    self.refused.push_front((batch, count));
                    self.status.paused(error);
                    let wait = self.backoff.next_delay(lockgate_runtime::random());
                    self.rest_without_broker(wait, stop).await;
                    if stop.is_cancelled() {
                        return;
                    }
                }
            }
        }
    }

    /// Bytes of a packet.
    fn connection_bytes_max(&self) -> usize {
        self.config.message_bytes_max.max(CONNECTION_BYTES_MIN) + PACKET_OVERHEAD_BYTES
    }

    fn options(&self) -> Result<MqttOptions, MqttError> {
        let config = &self.config;
        let mut options = MqttOptions::new(&config.client_id, &config.url.host, config.url.port);
        options
            .set_clean_session(false)
            .set_manual_acks(true)
            .set_keep_alive(config.keep_alive)
            .set_max_packet_size(self.connection_bytes_max(), PACKET_OVERHEAD_BYTES);
        if let Some(user) = &config.username {
            let password = config.password.as_ref().map(crate::config::Secret::reveal).transpose()?;
            options.set_credentials(user, password.unwrap_or_default());
        }
        if config.url.is_tls {
            let tls_config = tls::client_config(&tls::Trust::besides(config.ca_file.as_deref()))?;
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls_config)));
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests;
