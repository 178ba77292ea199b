//! What an agent of the fleet tells, and when.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use lockgate_proto::convert::encode_record;
use lockgate_proto::ids::{DeviceName, MetricName};
use lockgate_proto::ranges::RangeSet;
use lockgate_proto::reading::{Quality, Reading, Value};
use lockgate_proto::record::{Record, Telemetry};
use lockgate_proto::seq::{Epoch, Lane};
use lockgate_proto::time::UnixMicros;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::mark_logic::Mark;
use super::plan_logic::Pace;
use super::queue_logic::Queue;
use super::world::{Stage, World, count};
use crate::random::Random;

/// One agent's records.
pub(super) struct Publisher {
    world: Arc<World>,
    agent: usize,
    pub(super) queue: Queue,
    stage: watch::Receiver<Stage>,
    devices: Vec<DeviceName>,
    mark: MetricName,
    metrics: Vec<MetricName>,
    random: Random,
    is_done: bool,
}

impl Publisher {
    pub(super) fn new(world: Arc<World>, agent: usize) -> anyhow::Result<Publisher> {
        let name = |device| format!("{}-{}-{}", world.plan.name, agent + 1, device + 1);
        let devices = (0..world.plan.devices).map(|device| DeviceName::new(name(device))).collect::<Result<_, _>>()?;
        let numbers = 1..world.plan.readings;
        let metrics = numbers.map(|metric| MetricName::new(format!("value-{metric}"))).collect::<Result<_, _>>()?;
        Ok(Publisher {
            agent,
            queue: Queue::new(world.epoch(agent)),
            stage: world.stage.subscribe(),
            devices,
            mark: MetricName::new("mark")?,
            metrics,
            random: Random::new(agent as u64),
            is_done: false,
            world,
        })
    }

    /// Returns when something is to be published, or the time for it has just ended. Cancel-safe.
    pub(super) async fn due(&mut self) {
        loop {
            let stage = *self.stage.borrow_and_update();
            match stage {
                _ if self.is_done => return std::future::pending().await,
                // A full queue or window: an acknowledgement makes a place, and then this is asked anew.
                Stage::Publishing { until_us, .. } if !self.may_publish() => {
                    return sleep_until(self.world.instant(until_us)).await;
                }
                Stage::Publishing { from_us, until_us } => {
                    let Some(at) = self.due_us(from_us) else { return };
                    return sleep_until(self.world.instant(at.min(until_us))).await;
                }
                Stage::Connecting | Stage::Leaving => {}
            }
            if self.stage.changed().await.is_err() {
                self.is_done = true;
            }
        }
    }

    fn due_us(&self, from_us: u64) -> Option<u64> {
        let due = self.world.plan.due_us(self.agent, self.queue.next().get())?;
        Some(from_us.saturating_add(due))
    }

    fn may_publish(&self) -> bool {
        let has_place = match self.world.plan.pace {
            Pace::Rate(_) => true,
            Pace::InFlight(count) => self.queue.unsettled() < count,
        };
        has_place && !self.queue.is_full()
    }

    /// Publishes all that is due by now, however late it is.
    pub(super) fn publish(&mut self) {
        let Stage::Publishing { from_us, until_us } = *self.stage.borrow() else { return };
        let now = self.world.now_us();
        while self.may_publish() {
            let due = self.due_us(from_us);
            if now < due.unwrap_or(now) || until_us <= due.unwrap_or(now) {
                break;
            }
            if let Some(due) = due {
                self.world.figures.late.add(now - due);
            }
            self.publish_one();
        }
        if until_us <= now && !self.is_done {
            self.is_done = true;
            self.world.figures.agents_done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn publish_one(&mut self) {
        let number = self.queue.next().get();
        let published_us = self.world.now_us();
        let wall = self.world.clock.wall();
        let mark = Mark { run: self.world.run, agent: self.agent as u64, number, at_us: published_us };
        let record = if self.world.is_bare {
            Bytes::copy_from_slice(&mark.to_message())
        } else {
            self.record(number, mark, wall)
        };
        count(&self.world.figures.published_bytes, record.len() as u64);
        self.queue.push(record, published_us, wall);
        if let Some(board) = self.world.agents.get(self.agent) {
            board.published.store(number, Ordering::Relaxed);
        }
    }

    fn record(&mut self, number: u64, mark: Mark, sampled_at: UnixMicros) -> Bytes {
        let index = usize::try_from(number % self.world.plan.devices).unwrap_or_default();
        let reading = |metric: &MetricName, value| Reading {
            metric: metric.clone(),
            unit: None,
            value,
            sampled_at,
            quality: Quality::Good,
        };
        let mut readings = Vec::with_capacity(1 + self.metrics.len());
        readings.push(reading(&self.mark, Value::Raw(Bytes::copy_from_slice(&mark.to_bytes()))));
        for metric in &self.metrics {
            readings.push(reading(metric, Value::Number(self.random.unit() * 100.0)));
        }
        encode_record(&Record::Telemetry(Telemetry {
            device: self.devices[index].clone(),
            readings,
            historical: false,
        }))
    }

    /// What the backbone has.
    pub(super) fn settled(&mut self, epoch: Epoch, lane: Lane, set: &RangeSet) {
        let now = self.world.now_us();
        let figures = &self.world.figures;
        let mut settled = 0;
        self.queue.settle(epoch, lane, set, |published_us| {
            settled += 1;
            figures.acknowledged.add(now.saturating_sub(published_us));
        });
        if let Some(board) = self.world.agents.get(self.agent) {
            board.acknowledged.fetch_add(settled, Ordering::Relaxed);
        }
    }
}
