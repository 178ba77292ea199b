//! What a message says: read, sorted and queued; one that came before is left out.

use std::collections::VecDeque;

use lockgate_proto::seq::{Lane, Seq};
use ring::digest;
use rumqttc::{Event, EventLoop, Packet, Publish, QoS};

use super::MqttSource;
use super::error::MqttError;
use crate::source::mqtt_logic::LaneSeqs;

impl MqttSource {
    /// Queues what a message says. Gives the records that must be on disk before it may be acknowledged.
    pub(super) async fn message(&mut self, publish: &Publish) -> Result<LaneSeqs, MqttError> {
        if self.order.is_empty() {
            self.renewals = self.progress.borrow().renewals;
        }
        let counters = self.status.counters();
        counters.messages.add(1);
        counters.bytes.add(publish.payload.len() as u64);
        let mut outputs = Vec::new();
        let (topic, payload) = (&publish.topic, &publish.payload);
        let bytes_max = self.config.message_bytes_max;
        if payload.len() > bytes_max {
            self.reader.too_large(topic, payload, payload.len(), bytes_max, &mut outputs);
        } else {
            self.reader.message(topic, payload, publish.retain, &mut outputs);
        }
        let now = self.ingest.now();
        self.watcher.heard(&outputs, now);
        self.incoming.roster.heard(&outputs);
        self.hear_replies(&outputs).await;
        let gaps_version = self.progress.borrow().gaps_version;
        let news = self.presence.leave_news(&mut outputs, gaps_version);
        // Those that only repeat what was told are signs of life, and tell nothing.
        self.watcher.said(&outputs, now);
        let may_come_again = publish.qos != QoS::AtMostOnce;
        let digest = may_come_again.then(|| self.digest(publish));
        let suspected = may_come_again && self.repeats.suspects(publish.dup);
        let sorted = self.ingest.sort(outputs, digest);
        let mut needs = [Seq::NONE; 2];
        let mut batches: VecDeque<_> = sorted.batches.into_iter().zip(sorted.counts).collect();
        let mut came_before = suspected && !batches.is_empty();
        while let Some((batch, count)) = batches.pop_front() {
            if suspected && self.is_repeat(batch.digest).await {
                self.status.counters().duplicates.add(batch.records.len() as u64);
                continue;
            }
            came_before = false;
            match self.ingest.append(&batch, count, &self.status).await {
                Ok((lane, seq)) => needs[lane.index()] = seq,
                Err(no_room) => {
                    batches.push_front((batch, count));
                    self.refused = batches;
                    // What it says is told when there is room, and then nobody looks.
                    self.presence.forget();
                    return Err(no_room.into());
                }
            }
        }
        if !came_before {
            self.ingest.keep(sorted.dead_letters, &self.status);
        }
        let events = &mut needs[Lane::Events.index()];
        let left_out = news.needs;
        if *events > Seq::NONE {
            self.presence.told(news, *events);
        }
        *events = (*events).max(left_out.unwrap_or(Seq::NONE));
        Ok(needs)
    }

    /// Whether a batch came before, on an earlier connection. If so, it is on disk.
    async fn is_repeat(&mut self, digest: Option<u64>) -> bool {
        let Some(digest) = digest.filter(|digest| self.repeats.may_match(*digest)) else { return false };
        let is_repeat = self.ingest.holds(digest).await;
        if is_repeat {
            self.repeats.has_matched(digest);
        }
        is_repeat
    }

    /// Messages that rumqttc had read when the connection broke. Those of quality of service 1 come again;
    /// all are queued, none can be acknowledged.
    pub(super) async fn leftovers(&mut self, events: &mut EventLoop) -> Result<(), MqttError> {
        while let Some(event) = events.state.events.pop_front() {
            match event {
                Event::Incoming(Packet::Publish(publish)) => drop(self.message(&publish).await?),
                // Not to be asked for again: that would bring all retained messages again, too large ones too.
                Event::Incoming(Packet::SubAck(suback)) => self.granted(&suback)?,
                Event::Incoming(_) | Event::Outgoing(_) => {}
            }
        }
        Ok(())
    }

    fn digest(&self, publish: &Publish) -> u64 {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [self.config.name.as_bytes(), publish.topic.as_bytes()] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        context.update(&self.repeats.digest_packet(publish.pkid).to_le_bytes());
        context.update(&publish.payload);
        let digest = context.finish();
        let head = digest.as_ref().first_chunk::<8>().expect("a SHA-256 has 32 bytes");
        u64::from_le_bytes(*head)
    }
}
