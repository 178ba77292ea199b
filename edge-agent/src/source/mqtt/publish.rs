//! Commands to devices by way of the broker: published, confirmed, replied to.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lockgate_codec::{Outgoing, Output};
use lockgate_proto::command::Answer;
use lockgate_proto::command::Fields;
use rumqttc::{AsyncClient, QoS};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::MqttSource;
use crate::commands::Job;
use crate::source::orders_logic::{Settled, away, unconfirmed, unwritable};

/// What was published in one connection. A job stands here only where the broker's word is all that will be heard.
#[derive(Debug, Default)]
pub(super) struct Publishing {
    /// The broker has let us hear it: what is published can be replied to.
    pub(super) is_ready: bool,
    /// Handed to the client, in this order.
    asked: VecDeque<Option<Job>>,
    /// On the line, by the number of its packet.
    sent: BTreeMap<u16, Job>,
}

impl Publishing {
    /// The client has written the next one.
    pub(super) fn written(&mut self, pkid: u16) {
        if let Some(job) = self.asked.pop_front().flatten() {
            self.sent.insert(pkid, job);
        }
    }
}

impl MqttSource {
    /// Publishes a command.
    pub(super) async fn tell(&mut self, client: &AsyncClient, job: Job) {
        if !self.publishing.is_ready {
            return job.answer(away(job.attempts_before())).await;
        }
        let (command, id) = (job.command.clone(), self.orders.next_id());
        let order = Outgoing {
            device: &command.device,
            name: &command.name,
            arguments: &command.arguments,
            command_id: command.id.as_str(),
            id,
        };
        let mut written = match self.config.profile.write(&order) {
            Ok(written) => written,
            Err(error) => return job.answer(unwritable(&error)).await,
        };
        let (topic, bytes) = (written.topic.take().unwrap_or_default(), std::mem::take(&mut written.bytes));
        if client.try_publish(topic, QoS::AtLeastOnce, false, bytes).is_err() {
            // Too much waits for the broker already: nothing of this was taken.
            return job.answer(away(job.attempts_before())).await;
        }
        if written.expects_reply {
            self.publishing.asked.push_back(None);
            self.orders.written(self.ingest.now(), job, &command, id, &written);
        } else {
            self.publishing.asked.push_back(Some(job));
        }
    }

    /// The broker has taken a message of ours.
    pub(super) async fn confirmed(&mut self, pkid: u16) {
        if let Some(job) = self.publishing.sent.remove(&pkid) {
            job.answer(Answer::Succeeded(Fields::default())).await;
        }
    }

    /// The connection is over. A device that was told something may still reply by way of the next one.
    pub(super) async fn unconfirmed(&mut self) {
        let Publishing { asked, sent, .. } = std::mem::take(&mut self.publishing);
        for job in asked.into_iter().flatten().chain(sent.into_values()) {
            job.answer(unconfirmed()).await;
        }
    }

    /// Takes in what devices say to commands.
    pub(super) async fn hear_replies(&mut self, outputs: &[Output]) {
        let now = self.ingest.now();
        for output in outputs {
            if let Output::Reply(reply) = output {
                let settled = self.orders.replied(now, reply);
                self.settle(settled).await;
            }
        }
    }

    /// Ends the waits that are over.
    pub(super) async fn settle_overdue(&mut self) {
        let overdue = self.orders.overdue(self.ingest.now());
        self.settle(overdue).await;
    }

    async fn settle(&mut self, settled: impl IntoIterator<Item = Settled<Job>>) {
        for Settled { job, answer } in settled {
            job.answer(answer).await;
        }
    }

    /// When a wait for a reply is over next.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        let deadline = self.orders.deadline()?;
        Some(Instant::now() + deadline.since(self.ingest.now()))
    }

    /// Waits without a connection; what is to be told meanwhile is put off.
    pub(super) async fn rest_without_broker(&mut self, wait: Duration, stop: &CancellationToken) {
        let until = Instant::now() + wait;
        loop {
            let overdue = self.overdue_at();
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                // CANCEL-SAFE: nothing is taken until `recv` completes.
                Some(job) = self.incoming.jobs.recv() => Some(job),
                // CANCEL-SAFE: what rings unheard is kept for the next one.
                () = self.incoming.restart.notified() => return,
                // CANCEL-SAFE: a timer holds nothing.
                () = sleep_or_never(overdue) => None,
                // CANCEL-SAFE: as above.
                () = tokio::time::sleep_until(until) => return,
            };
            match job {
                Some(job) => job.answer(away(job.attempts_before())).await,
                None => self.settle_overdue().await,
            }
        }
    }
}

/// Never, where there is no instant.
pub(super) async fn sleep_or_never(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
