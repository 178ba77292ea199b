//! Which command a reply belongs to, and how long one waits for it.
//!
//! Pure. Each attempt gets a short number, which a device repeats where it can. The numbers begin anywhere, so that a
//! late reply to an earlier run of the agent is not taken for one of this.

use std::sync::Arc;
use std::time::Duration;

use lockgate_codec::{Reply, Says, WriteError, Written};
use lockgate_proto::command::{Answer, Command, CommandId, Failure, FailureKind, Progress};
use lockgate_proto::ids::DeviceName;
use lockgate_proto::time::MonoTime;

/// First and longest wait before a device whose port or broker is away is tried again.
const AWAY_WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// What a source has told its devices, and waits for the replies to.
#[derive(Debug)]
pub(super) struct Orders<J> {
    last_id: u16,
    waiting: Vec<Waiting<J>>,
}

#[derive(Debug)]
struct Waiting<J> {
    job: J,
    id: u16,
    device: DeviceName,
    command: CommandId,
    timeout: Duration,
    until: MonoTime,
}

/// A job, and the answer to it. Where more may come, the job goes on waiting.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settled<J> {
    pub(super) job: J,
    pub(super) answer: Answer,
}

impl<J: Clone> Orders<J> {
    /// `random`: where the numbers begin.
    pub(super) fn new(random: u64) -> Orders<J> {
        let [low, high, ..] = random.to_le_bytes();
        Orders { last_id: u16::from_le_bytes([low, high]), waiting: Vec::new() }
    }

    /// The number of the next attempt: none that is waited for, and not 0.
    pub(super) fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            let id = self.last_id;
            if id != 0 && self.waiting.iter().all(|waiting| waiting.id != id) {
                return id;
            }
        }
    }

    /// It was written to the device. The answer, where no reply is waited for.
    pub(super) fn written(
        &mut self,
        now: MonoTime,
        job: J,
        command: &Command,
        id: u16,
        written: &Written,
    ) -> Option<Settled<J>> {
        if !written.expects_reply {
            let answer = Answer::Succeeded(lockgate_proto::command::Fields::default());
            return Some(Settled { job, answer });
        }
        let (device, command, timeout) = (command.device.clone(), command.id.clone(), written.timeout);
        self.waiting.push(Waiting { job, id, device, command, timeout, until: now + timeout });
        None
    }

    /// A device has said something. `None`: nobody waits for it.
    pub(super) fn replied(&mut self, now: MonoTime, reply: &Reply) -> Option<Settled<J>> {
        let is_of = |waiting: &Waiting<J>| reply.device.as_ref().is_none_or(|device| *device == waiting.device);
        let is_meant = |waiting: &Waiting<J>| match &reply.id {
            Some(id) => *id == waiting.id.to_string() || id == waiting.command.as_str(),
            // The one that it was told first: devices do one after the other.
            None => true,
        };
        let at = self.waiting.iter().position(|waiting| is_of(waiting) && is_meant(waiting))?;
        let answer = answer_of(&reply.says);
        if let Answer::Progress(_) = answer {
            let waiting = &mut self.waiting[at];
            waiting.until = now + waiting.timeout;
            return Some(Settled { job: waiting.job.clone(), answer });
        }
        Some(Settled { job: self.waiting.remove(at).job, answer })
    }

    /// When [`Orders::overdue`] has something to give.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.waiting.iter().map(|waiting| waiting.until).min()
    }

    /// Those whose time is over.
    pub(super) fn overdue(&mut self, now: MonoTime) -> Vec<Settled<J>> {
        let over = self.waiting.extract_if(.., |waiting| waiting.until <= now);
        let settled = over.map(|waiting| {
            let seconds = waiting.timeout.as_secs_f64();
            Settled { job: waiting.job, answer: no_reply(&format!("the device did not reply within {seconds} s")) }
        });
        settled.collect()
    }

    /// All of them: no reply can come any more.
    pub(super) fn give_up(&mut self, why: &str) -> Vec<Settled<J>> {
        let settled = |waiting: Waiting<J>| Settled { job: waiting.job, answer: no_reply(why) };
        std::mem::take(&mut self.waiting).into_iter().map(settled).collect()
    }
}

/// The port or the broker is away: nothing was written, and it is tried again.
pub(super) fn away(attempts_before: u32) -> Answer {
    let wait = AWAY_WAIT.0.saturating_mul(1 << attempts_before.min(16));
    Answer::Busy { retry_after: wait.min(AWAY_WAIT.1) }
}

/// It can't be written, now or later.
pub(super) fn unwritable(error: &WriteError) -> Answer {
    let kind = match error {
        WriteError::NoSuchCommand { .. } => FailureKind::Unsupported,
        WriteError::Arguments(_)
        | WriteError::Control { .. }
        | WriteError::EndMark
        | WriteError::Topic { .. }
        | WriteError::NoName(_) => FailureKind::NotSent,
    };
    failed(kind, &error.to_string())
}

/// Writing it failed.
pub(super) fn not_sent(why: &str) -> Answer {
    failed(FailureKind::NotSent, why)
}

/// The broker has not said that it has it.
pub(super) fn unconfirmed() -> Answer {
    no_reply("the broker was lost before it confirmed the command")
}

fn no_reply(why: &str) -> Answer {
    failed(FailureKind::NoReply, why)
}

fn failed(kind: FailureKind, reason: &str) -> Answer {
    Answer::Failed(Failure { kind, reason: reason.into() })
}

fn answer_of(says: &Says) -> Answer {
    match says {
        Says::Success(result) => Answer::Succeeded(result.clone()),
        Says::Refused(reason) => {
            let reason = if reason.is_empty() { "the device gave no reason" } else { reason };
            failed(FailureKind::Refused, reason)
        }
        Says::Busy { retry_after } => Answer::Busy { retry_after: *retry_after },
        Says::Progress { percent, text } => Answer::Progress(Progress { percent: *percent, text: Arc::clone(text) }),
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::command::{Fields, Priority};
    use lockgate_proto::ids::{CommandName, UserName};
    use lockgate_proto::time::UnixMicros;

    use super::*;

    fn command(id: &str, device: &str) -> Command {
        Command {
            id: CommandId::new(id).unwrap(),
            device: DeviceName::new(device).unwrap(),
            name: CommandName::new("do").unwrap(),
            arguments: Fields::default(),
            idempotent: false,
            priority: Priority::Normal,
            deadline: UnixMicros(0),
            sender: UserName::new("ada").unwrap(),
        }
    }

    fn written(expects_reply: bool) -> Written {
        Written { topic: None, bytes: Vec::new(), timeout: Duration::from_secs(5), expects_reply }
    }

    fn reply(device: Option<&str>, id: Option<&str>, says: Says) -> Reply {
        Reply { device: device.map(|name| DeviceName::new(name).unwrap()), id: id.map(str::to_owned), says }
    }

    fn at(seconds: u64) -> MonoTime {
        MonoTime(Duration::from_secs(seconds))
    }

    const DONE: fn() -> Says = || Says::Success(Fields::default());

    #[test]
    fn a_reply_is_known_by_its_number_by_the_commands_id_or_by_its_device() {
        let mut orders = Orders::new(u64::from(u16::MAX) - 1);
        let ids: Vec<u16> = (0..3).map(|_| orders.next_id()).collect();
        assert_eq!(ids, [u16::MAX, 1, 2], "0 is no number");
        for (id, (name, device)) in ids.iter().zip([("a", "x"), ("b", "x"), ("c", "y")]) {
            assert_eq!(orders.written(at(0), name, &command(name, device), *id, &written(true)), None);
        }
        let mut job = |reply| orders.replied(at(1), &reply).map(|settled| settled.job);
        assert_eq!(job(reply(Some("y"), Some("1"), DONE())), None, "that number is another device's");
        assert_eq!(job(reply(Some("x"), Some("b"), DONE())), Some("b"));
        assert_eq!(job(reply(Some("x"), None, DONE())), Some("a"), "what it was told first");
        assert_eq!(job(reply(None, Some("2"), DONE())), Some("c"));
        assert_eq!(job(reply(None, None, DONE())), None, "nobody waits any more");
    }

    #[test]
    fn progress_gives_more_time_and_silence_ends_the_wait() {
        let mut orders = Orders::new(0);
        let id = orders.next_id();
        orders.written(at(0), "a", &command("a", "x"), id, &written(true));
        assert_eq!((orders.deadline(), orders.overdue(at(4))), (Some(at(5)), Vec::new()));
        let progress = Says::Progress { percent: Some(10), text: "on".into() };
        let settled = orders.replied(at(4), &reply(Some("x"), None, progress)).unwrap();
        assert!(matches!(settled.answer, Answer::Progress(_)));
        assert!(orders.overdue(at(8)).is_empty());
        let over = orders.overdue(at(9));
        let is_no_reply =
            |answer: &Answer| matches!(answer, Answer::Failed(failure) if failure.kind == FailureKind::NoReply);
        assert!(over.len() == 1 && is_no_reply(&over[0].answer), "{over:?}");
        assert_eq!(orders.replied(at(10), &reply(Some("x"), None, DONE())), None, "a late word counts for nothing");
    }

    #[test]
    fn what_awaits_no_reply_is_done_when_it_is_written() {
        let mut orders = Orders::new(0);
        let settled = orders.written(at(0), "a", &command("a", "x"), 1, &written(false));
        assert_eq!(settled, Some(Settled { job: "a", answer: Answer::Succeeded(Fields::default()) }));
        assert_eq!(orders.deadline(), None);
    }

    #[test]
    fn a_device_that_is_away_is_tried_ever_more_rarely() {
        let waits = [0, 1, 5, 6, 40].map(|attempts| match away(attempts) {
            Answer::Busy { retry_after } => retry_after.as_secs(),
            other => panic!("{other:?}"),
        });
        assert_eq!(waits, [1, 2, 32, 60, 60]);
    }
}
