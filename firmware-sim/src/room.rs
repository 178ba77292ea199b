//! Plays one room sensor over MQTT and journals what was said and what the broker confirmed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::device::Sample;
use crate::duty::{Duty, Told, from_json, to_json};
use crate::faults::{FaultRates, Spoiled, Strike};
use crate::hearing::Verdict;
use crate::journal::{JournalError, JournalHandle, Via};
use crate::models::{Moment, Room};
use crate::publisher::{BrokerUrl, Confirmed, Identity, Message, Order, Publisher};
use crate::random::Random;

/// Messages that may wait for the broker. When it is full, the sensor rests (and takes no sample).
const ORDERS_MAX: usize = 4096;
/// Orders that wait for the sensor; it misses those that are more.
const TOLD_MAX: usize = 16;
/// How long a calibration takes.
const CALIBRATION: Duration = Duration::from_secs(5);
/// How long a sensor that is to stop waits for the broker's last confirmations.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

/// One room sensor: the model, its running number and its faults, stepped from outside.
pub struct RoomDevice {
    model: Room,
    rates: FaultRates,
    clock_error: SignedDuration,
    random: Random,
    step: Duration,
    taken: u64,
    silent: u32,
    duty: Duty,
}

/// What a sensor says at one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomWord {
    /// The payload.
    pub payload: String,
    /// The sample in it. Bits do not flip on TCP: only a payload that breaks off spoils one.
    pub sample: Sample,
    /// The sensor drops off the network after this, for so long.
    pub away: Option<Duration>,
}

impl RoomDevice {
    /// A sensor that takes a sample each `step`, whose clock is wrong by `clock_error`.
    pub fn new(mut random: Random, step: Duration, rates: FaultRates, clock_error: SignedDuration) -> RoomDevice {
        let model = Room::new(&mut random);
        let duty = Duty::new(-5.0..=5.0, rates.busy, CALIBRATION);
        RoomDevice { model, rates, clock_error, random, step, taken: 0, silent: 0, duty }
    }

    /// Takes an order, `now` since the start: what it replies, and the order if it has acted on it.
    pub fn hear(&mut self, payload: &[u8], now: Duration) -> Option<(String, Option<Told>)> {
        let told = from_json(payload)?;
        let taken = self.duty.told(now, &told, &mut self.random);
        match (taken.acts, told.what.as_str(), told.value) {
            (true, "set", Some(offset)) => self.model.correct(offset),
            (true, "reboot", _) => self.model.correct(0.0),
            _ => {}
        }
        Some((to_json(&told.id, &taken.word), taken.acts.then_some(told)))
    }

    /// What it has to say of an order that takes its time.
    pub fn live_on(&mut self, now: Duration) -> Option<String> {
        self.duty.live_on(now).map(|(id, word)| to_json(&id, &word))
    }

    /// Lives on to `wall` and says what there is to say.
    pub fn speak(&mut self, wall: Timestamp) -> Option<RoomWord> {
        if self.silent > 0 {
            self.silent -= 1;
            return None;
        }
        self.taken += 1;
        let strike = Strike::draw(&self.rates, &mut self.random);
        let wall = wall.saturating_add(self.clock_error).unwrap_or(wall);
        let mut payload = self.model.payload(self.taken, Moment { wall, step: self.step }, &mut self.random);
        let spoiled = strike.spoiled.filter(|spoiled| *spoiled == Spoiled::HalfFrame);
        if spoiled.is_some() {
            // ASCII throughout: any cut is a cut between characters.
            payload.truncate(self.random.index(1..payload.len()));
        }
        let reset = (strike.spoiled == Some(Spoiled::Reset)).then_some(Duration::from_secs(1));
        self.silent = strike.silence;
        Some(RoomWord { payload, sample: Sample { n: self.taken, spoiled }, away: strike.unplug.or(reset) })
    }
}

/// What a played sensor is made of.
pub struct RoomSetup {
    /// The device's name: last level of its topic `sim/<name>`.
    pub name: Arc<str>,
    /// Where it publishes.
    pub broker: BrokerUrl,
    /// Between two samples.
    pub interval: Duration,
    /// Into the first interval.
    pub phase: Duration,
}

/// A sensor cannot journal what it says.
#[derive(Debug, thiserror::Error)]
#[error("device {device}: cannot journal")]
pub struct RoomError {
    device: Arc<str>,
    source: JournalError,
}

/// Plays `device` until `stop`, then says goodbye and waits a little for the broker's last confirmations.
pub async fn play(
    setup: RoomSetup,
    device: RoomDevice,
    journal: JournalHandle,
    stop: CancellationToken,
) -> Result<(), RoomError> {
    let topic = format!("sim/{}", setup.name);
    let state = |state: &str| Message {
        topic: format!("{topic}/availability"),
        payload: format!(r#"{{"state":"{state}"}}"#).into_bytes(),
        retain: true,
    };
    let identity = Identity {
        client_id: format!("lockgate-sim-{}", setup.name),
        birth: Some(state("online")),
        will: Some(state("offline")),
    };
    let goodbye = state("offline");
    let (orders, orders_rx) = mpsc::channel(ORDERS_MAX);
    let (confirmed_tx, confirmed) = mpsc::channel(64);
    let (told_tx, told) = mpsc::channel(TOLD_MAX);
    let publisher = Publisher::new(setup.broker.clone(), identity, orders_rx, confirmed_tx)
        .listening(format!("{topic}/set"), told_tx);
    let name = setup.name.clone();
    let (orders, open, started) = (Some(orders), BTreeMap::new(), Instant::now());
    let player = Player { setup, topic, goodbye, device, journal, orders, confirmed, told, started, open };
    let (played, ()) = tokio::join!(player.run(&stop), async {
        // The player lets go of the orders first, so that the publisher ends; a broker that is away must not hold us.
        tokio::select! {
            () = publisher.run() => {}
            () = async { stop.cancelled().await; tokio::time::sleep(STOP_PATIENCE).await } => {}
        }
    });
    played.map_err(|source| RoomError { device: name, source })
}

struct Player {
    setup: RoomSetup,
    topic: String,
    goodbye: Message,
    device: RoomDevice,
    journal: JournalHandle,
    /// Let go of at the end, which ends the publisher.
    orders: Option<mpsc::Sender<Order>>,
    confirmed: mpsc::Receiver<Confirmed>,
    told: mpsc::Receiver<Vec<u8>>,
    started: Instant,
    /// Samples that the broker has not confirmed.
    open: BTreeMap<u64, Sample>,
}

enum Input {
    Stop,
    Confirmed(Confirmed),
    Told(Vec<u8>),
    Speak,
    /// The publisher has ended.
    Over,
}

/// The tag of a goodbye and of replies; samples count from 1.
const NO_SAMPLE: u64 = 0;

impl Player {
    async fn run(mut self, stop: &CancellationToken) -> Result<(), JournalError> {
        let mut speak = interval_at(Instant::now() + self.setup.phase, self.setup.interval);
        speak.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = None;
        loop {
            let stopping = deadline.is_some();
            let give_up_at = deadline.unwrap_or_else(Instant::now);
            let input = tokio::select! {
                biased;
                () = stop.cancelled(), if !stopping => Input::Stop,
                // CANCEL-SAFE: nothing is taken until `recv` completes.
                confirmed = self.confirmed.recv() => confirmed.map_or(Input::Over, Input::Confirmed),
                // CANCEL-SAFE: nothing is taken until `recv` completes.
                Some(payload) = self.told.recv(), if !stopping => Input::Told(payload),
                // CANCEL-SAFE: a tick that is not returned comes again.
                _ = speak.tick(), if !stopping => Input::Speak,
                () = sleep_until(give_up_at), if stopping => Input::Over,
            };
            match input {
                Input::Stop => {
                    deadline = Some(Instant::now() + STOP_PATIENCE);
                    if let Some(orders) = self.orders.take() {
                        self.say_goodbye(&orders);
                    }
                }
                Input::Confirmed(confirmed) => self.note(confirmed).await?,
                Input::Told(payload) => self.hear(&payload).await?,
                Input::Speak => self.speak().await?,
                Input::Over => break,
            }
        }
        for n in self.open.into_keys() {
            // It may have arrived: only the confirmation is missing.
            self.journal.verdict(&self.setup.name, n, Verdict::Cut).await?;
        }
        Ok(())
    }

    fn say_goodbye(&self, orders: &mpsc::Sender<Order>) {
        if let Err(error) = orders.try_send(Order::Publish { tag: NO_SAMPLE, message: self.goodbye.clone() }) {
            warn!(device = %self.setup.name, %error, "No room for a goodbye.");
        }
    }

    async fn speak(&mut self) -> Result<(), JournalError> {
        let Some(orders) = self.orders.clone() else { return Ok(()) };
        // Room for the message and for vanishing after it.
        if orders.capacity() < 2 {
            warn!(device = %self.setup.name, waiting = ORDERS_MAX, "The broker takes nothing; the sensor rests.");
            return Ok(());
        }
        if let Some(word) = self.device.live_on(self.started.elapsed()) {
            self.reply(word);
        }
        let wall = Timestamp::now();
        let Some(word) = self.device.speak(wall) else { return Ok(()) };
        self.journal.produced(&self.setup.name, word.sample, wall, Via::Mqtt).await?;
        self.open.insert(word.sample.n, word.sample);
        let message = Message { topic: self.topic.clone(), payload: word.payload.into_bytes(), retain: false };
        let vanish = word.away.map(Order::Vanish);
        for order in [Some(Order::Publish { tag: word.sample.n, message }), vanish].into_iter().flatten() {
            match orders.try_send(order) {
                Ok(()) => {}
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                    warn!(device = %self.setup.name, "The publisher has ended early.");
                }
            }
        }
        Ok(())
    }

    /// Takes an order. What the sensor acts on is in the journal before it says so.
    async fn hear(&mut self, payload: &[u8]) -> Result<(), JournalError> {
        let Some((reply, executed)) = self.device.hear(payload, self.started.elapsed()) else { return Ok(()) };
        if let Some(told) = executed {
            self.journal.executed(&self.setup.name, &told, Timestamp::now()).await?;
        }
        self.reply(reply);
        Ok(())
    }

    fn reply(&self, payload: String) {
        let message = Message { topic: format!("{}/reply", self.topic), payload: payload.into_bytes(), retain: false };
        let Some(orders) = &self.orders else { return };
        if orders.try_send(Order::Publish { tag: NO_SAMPLE, message }).is_err() {
            warn!(device = %self.setup.name, "No room for a reply.");
        }
    }

    async fn note(&mut self, confirmed: Confirmed) -> Result<(), JournalError> {
        if self.open.remove(&confirmed.tag).is_none() {
            return Ok(());
        }
        for _ in 1..confirmed.sends {
            self.journal.repeated(&self.setup.name, confirmed.tag).await?;
        }
        self.journal.verdict(&self.setup.name, confirmed.tag, Verdict::Heard).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64) -> Vec<Option<RoomWord>> {
        let rates = FaultRates { half_frames: 0.2, silence: 0.05, unplug: 0.05, ..FaultRates::default() };
        let step = Duration::from_secs(1);
        let mut device = RoomDevice::new(Random::new(seed), step, rates, SignedDuration::from_hours(1));
        let start: Timestamp = "2025-05-20T07:00:00Z".parse().unwrap();
        (0..500).map(|second| device.speak(start + SignedDuration::from_secs(second))).collect()
    }

    #[test]
    fn the_same_seed_says_the_same_payloads() {
        assert_eq!(run(42), run(42));
        assert_ne!(run(42), run(43));
    }

    #[test]
    fn numbers_start_at_one_and_only_broken_payloads_are_spoiled() {
        for (index, word) in run(1).iter().flatten().enumerate() {
            let json = serde_json::from_str::<serde_json::Value>(&word.payload);
            assert_eq!(word.sample.n, index as u64 + 1);
            assert_eq!(json.is_err(), word.sample.spoiled.is_some());
            if let Ok(json) = json {
                assert_eq!(json["n"], word.sample.n);
                assert!(json["last_seen"].as_str().unwrap() >= "2025-05-20T08:00:00");
            }
        }
    }
}
