//! What simulated devices do when they are told something: pure, stepped from outside.
//!
//! A device is told four things: `set` (a number within its range), `power` (1 or 0), `reboot`, and `calibrate`, which
//! takes its time and tells how far it has come. While it calibrates, and at times just so, it is busy.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::random::Random;

/// LIMIT: bytes of an order that has not ended.
pub const ORDER_BYTES_MAX: usize = 1024;

/// A busy device asks for so much patience.
const BUSY_SECONDS: u32 = 1;

/// A calibration tells of itself in steps of this.
const STEP_PERCENT: u8 = 20;

/// What a device was told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The number that the reply repeats.
    pub id: String,
    /// The command's own id.
    pub command: String,
    /// `set`, `power`, `reboot` or `calibrate`.
    pub what: String,
    /// With what.
    pub value: Option<f64>,
}

/// What a device says to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// It is done; the value is what it has now.
    Done(Option<f64>),
    /// It is not done.
    Refused(&'static str),
    /// Not now.
    Busy {
        /// Ask again then.
        seconds: u32,
    },
    /// So much of it is done.
    Progress {
        /// Below 100.
        percent: u8,
    },
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// What the device says at once.
    pub word: Word,
    /// It has acted, or has begun to.
    pub acts: bool,
}

/// How a device takes its orders.
#[derive(Clone, Debug)]
pub struct Duty {
    range: RangeInclusive<f64>,
    /// How often it is busy for no reason.
    busy: f64,
    calibration: Duration,
    running: Option<Calibration>,
}

#[derive(Clone, Debug)]
struct Calibration {
    id: String,
    begun: Duration,
    told: u8,
}

impl Duty {
    /// `range`: what it can be set to. `busy`: how often it puts an order off. `calibration`: how long one takes.
    pub fn new(range: RangeInclusive<f64>, busy: f64, calibration: Duration) -> Duty {
        Duty { range, busy, calibration, running: None }
    }

    /// Takes an order at `now`.
    pub fn told(&mut self, now: Duration, told: &Told, random: &mut Random) -> Taken {
        let no = |reason| Taken { word: Word::Refused(reason), acts: false };
        let is_busy = random.chance(self.busy) || (self.running.is_some() && told.what != "reboot");
        let done = |value| Taken { word: Word::Done(value), acts: true };
        match (told.what.as_str(), told.value) {
            ("set" | "power" | "reboot" | "calibrate", _) if is_busy => {
                Taken { word: Word::Busy { seconds: BUSY_SECONDS }, acts: false }
            }
            ("set", Some(value)) if self.range.contains(&value) => done(Some(value)),
            ("set", Some(_)) => no("out of range"),
            ("power", Some(value)) => done(Some(if value > 0.0 { 1.0 } else { 0.0 })),
            ("set" | "power", None) => no("no value"),
            ("reboot", _) => {
                self.running = None;
                done(None)
            }
            ("calibrate", _) => {
                self.running = Some(Calibration { id: told.id.clone(), begun: now, told: 0 });
                Taken { word: Word::Progress { percent: 0 }, acts: true }
            }
            _ => no("unknown order"),
        }
    }

    /// What is to be said of a calibration at `now`: to which order, and what.
    pub fn live_on(&mut self, now: Duration) -> Option<(String, Word)> {
        let running = self.running.as_mut()?;
        let share = now.saturating_sub(running.begun).as_secs_f64() / self.calibration.as_secs_f64().max(0.001);
        if share >= 1.0 {
            let id = self.running.take()?.id;
            return Some((id, Word::Done(None)));
        }
        let steps = (0..100).step_by(usize::from(STEP_PERCENT)).filter(|step| f64::from(*step) <= share * 100.0);
        let percent = u8::try_from(steps.max().unwrap_or(0)).unwrap_or(0);
        if percent <= running.told {
            return None;
        }
        running.told = percent;
        Some((running.id.clone(), Word::Progress { percent }))
    }
}

/// Reads an order of a device that speaks JSON: `{"id":7,"command":"c-1","do":"set","value":20}`.
pub fn from_json(bytes: &[u8]) -> Option<Told> {
    let order: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let value = &order["value"];
    Some(Told {
        id: order["id"].to_string(),
        command: order["command"].as_str()?.to_owned(),
        what: order["do"].as_str()?.to_owned(),
        value: value.as_f64().or_else(|| value.as_bool().map(|flag| f64::from(u8::from(flag)))),
    })
}

/// What such a device replies.
pub fn to_json(id: &str, word: &Word) -> String {
    match word {
        Word::Done(Some(value)) => format!(r#"{{"reply":"done","id":{id},"value":{value}}}"#),
        Word::Done(None) => format!(r#"{{"reply":"done","id":{id}}}"#),
        Word::Refused(why) => format!(r#"{{"reply":"no","id":{id},"why":"{why}"}}"#),
        Word::Busy { seconds } => format!(r#"{{"reply":"busy","id":{id},"seconds":{seconds}}}"#),
        Word::Progress { percent } => format!(r#"{{"reply":"under-way","id":{id},"percent":{percent}}}"#),
    }
}

/// Reads an order of a device that speaks lines: `DO=set V=20 ID=7 CMD=c-1`, the command's id last.
pub fn from_line(line: &str) -> Option<Told> {
    let (head, command) = line.split_once(" CMD=")?;
    let part = |key: &str| head.split(' ').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
    let value = part("V").and_then(|value| value.parse().ok());
    Some(Told { id: part("ID")?.to_owned(), command: command.to_owned(), what: part("DO")?.to_owned(), value })
}

/// What such a device replies.
pub fn to_line(id: &str, word: &Word) -> String {
    match word {
        Word::Done(Some(value)) => format!("REPLY=done ID={id} V={value}"),
        Word::Done(None) => format!("REPLY=done ID={id}"),
        Word::Refused(why) => format!("REPLY=no ID={id} WHY={}", why.replace(' ', "-")),
        Word::Busy { seconds } => format!("REPLY=busy ID={id} S={seconds}"),
        Word::Progress { percent } => format!("REPLY=under-way ID={id} P={percent}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(what: &str, value: Option<f64>) -> Told {
        Told { id: "7".to_owned(), command: "c".to_owned(), what: what.to_owned(), value }
    }

    fn duty(busy: f64) -> Duty {
        Duty::new(5.0..=30.0, busy, Duration::from_secs(10))
    }

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn orders_are_obeyed_or_refused_and_only_what_acts_counts() {
        let (mut duty, mut random) = (duty(0.0), Random::new(1));
        let mut say = |what: &str, value| duty.told(NOW, &told(what, value), &mut random);
        assert_eq!(say("set", Some(21.5)), Taken { word: Word::Done(Some(21.5)), acts: true });
        assert_eq!(say("set", Some(31.0)), Taken { word: Word::Refused("out of range"), acts: false });
        assert_eq!(say("set", None), Taken { word: Word::Refused("no value"), acts: false });
        assert_eq!(say("power", Some(1.0)), Taken { word: Word::Done(Some(1.0)), acts: true });
        assert_eq!(say("dance", None), Taken { word: Word::Refused("unknown order"), acts: false });
    }

    #[test]
    fn a_calibration_tells_of_itself_and_puts_all_else_off_but_a_reboot() {
        let (mut duty, mut random) = (duty(0.0), Random::new(1));
        assert!(duty.told(NOW, &told("calibrate", None), &mut random).acts);
        let busy = duty.told(NOW, &told("set", Some(20.0)), &mut random);
        assert_eq!(busy, Taken { word: Word::Busy { seconds: 1 }, acts: false });
        let seconds = |seconds| NOW + Duration::from_secs(seconds);
        assert_eq!(duty.live_on(seconds(1)), None);
        assert_eq!(duty.live_on(seconds(5)), Some(("7".to_owned(), Word::Progress { percent: 40 })));
        assert_eq!(duty.live_on(seconds(5)), None, "said once");
        assert_eq!(duty.live_on(seconds(10)), Some(("7".to_owned(), Word::Done(None))));
        assert_eq!(duty.live_on(seconds(20)), None);
        duty.told(NOW, &told("calibrate", None), &mut random);
        assert!(duty.told(NOW, &told("reboot", None), &mut random).acts);
        assert_eq!(duty.live_on(seconds(60)), None, "a reboot ends it");
    }

    #[test]
    fn a_device_is_busy_on_wish() {
        let (mut duty, mut random) = (duty(1.0), Random::new(1));
        assert!(!duty.told(NOW, &told("set", Some(20.0)), &mut random).acts);
    }

    #[test]
    fn both_languages_carry_an_order() {
        let json = from_json(br#"{"id":7,"command":"a/b c","do":"power","value":true}"#).unwrap();
        assert_eq!(json, Told { command: "a/b c".to_owned(), ..told("power", Some(1.0)) });
        assert_eq!(from_line("DO=set V=20.5 ID=7 CMD=a/b c").unwrap().command, "a/b c");
        assert_eq!(from_line("DO=set V=20.5 ID=7 CMD=c"), Some(told("set", Some(20.5))));
        assert_eq!(from_line("T=1"), None);
    }
}
