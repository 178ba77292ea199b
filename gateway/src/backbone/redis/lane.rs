//! Writes that share a round trip: while one group is under way, the next gathers behind it.
//!
//! Whoever finds the lane free carries out all that wait, his own among them. So there is no task that could die,
//! and one who is cut off leaves those whose writes he carried with "nobody knows", which is safe to ask again.
//! LIMIT: a session has one write at a time, so no more wait than there are sessions.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{Cmd, Pipeline, RedisResult, Value, cmd};
use tokio::sync::oneshot;

use super::fitness_logic::Wait;
use super::line::{HealthBoard, Line, is_function_missing, is_of_store, meaning, read};
use crate::backbone::BackboneError;

/// LIMIT: so many writes go in one round trip.
const GROUP_MAX: usize = 256;

/// LIMIT: so many bytes go in one round trip, or one write alone: Redis must answer before we lose patience.
const GROUP_BYTES_MAX: usize = 4 << 20;

/// How long an answer waits for its copies. Then it is not known whether there will be any.
const COPIES_TIMEOUT: Duration = Duration::from_secs(1);

/// One of several lanes; an agent's writes always take the same.
pub(super) struct Lane {
    line: Line,
    health: HealthBoard,
    waiting: Mutex<Vec<Asked>>,
    leader: tokio::sync::Mutex<()>,
}

/// A command, and whether it is for a slot that is only on its way to the node.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) command: Cmd,
    pub(super) asking: bool,
}

impl Call {
    /// Of a slot that the node has.
    pub(super) fn plain(command: &Cmd) -> Call {
        Call { command: command.clone(), asking: false }
    }
}

/// The answer, or why there is none.
type Answer = Result<RedisResult<Value>, BackboneError>;

struct Asked {
    call: Call,
    bytes: usize,
    answer: oneshot::Sender<Answer>,
}

impl Lane {
    pub(super) fn new(line: Line, health: HealthBoard) -> Lane {
        Lane { line, health, waiting: Mutex::default(), leader: tokio::sync::Mutex::default() }
    }

    /// Has a write done and waits until it is as durable as it is to be.
    pub(super) async fn write(&self, call: Call) -> Answer {
        let (answer, mut answered) = oneshot::channel();
        let bytes = size(&call.command);
        self.waiting().push(Asked { call, bytes, answer });
        loop {
            let leads = tokio::select! {
                biased;
                // CANCEL-SAFE: what was not taken is still in the channel.
                answer = &mut answered => return answer.unwrap_or_else(|_| Err(cut_off())),
                leads = self.leader.lock() => leads,
            };
            let group = self.next_group();
            if !group.is_empty() {
                self.carry_out(group).await;
            }
            drop(leads);
        }
    }

    fn next_group(&self) -> Vec<Asked> {
        let mut waiting = self.waiting();
        let count = group_size(waiting.iter().map(|asked| asked.bytes));
        waiting.drain(..count).collect()
    }

    async fn carry_out(&self, group: Vec<Asked>) {
        let answers = self.answers(&group).await;
        match &answers {
            // A room whose keys are damaged or elsewhere says nothing of the others.
            Ok(answers) => match answers.iter().filter_map(|answer| answer.as_ref().err()).find(|e| is_of_store(e)) {
                Some(error) => self.health.down(&meaning(error)),
                None => self.health.up(),
            },
            Err(error) => self.health.down(error),
        }
        let mut answers = answers.map(Vec::into_iter);
        for asked in group {
            let answer = match &mut answers {
                Ok(answers) => answers.next().ok_or_else(cut_off),
                Err(error) => Err(error.clone()),
            };
            // Who no longer waits has given up; the write stands, as after any answer that is lost.
            let _unheard = asked.answer.send(answer);
        }
    }

    async fn answers(&self, group: &[Asked]) -> Result<Vec<RedisResult<Value>>, BackboneError> {
        let mut answers = self.send(group).await?;
        if answers.iter().any(|answer| answer.as_ref().is_err_and(is_function_missing)) {
            // A Redis that was emptied, or failed over to an empty one. Nothing of such a call was done.
            self.line.load_functions().await?;
            answers = self.send(group).await?;
        }
        Ok(answers)
    }

    /// The answers to the group's calls, when their writes are as durable as they are to be.
    async fn send(&self, group: &[Asked]) -> Result<Vec<RedisResult<Value>>, BackboneError> {
        durable(&self.line, group.iter().map(|asked| asked.call.clone())).await
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does writes, and waits until they are as durable as they are to be.
pub(super) async fn durable(
    line: &Line,
    calls: impl Iterator<Item = Call> + Clone,
) -> Result<Vec<RedisResult<Value>>, BackboneError> {
    let mut followed_by = Wait::No;
    let commands = |wait| {
        followed_by = wait;
        let mut pipeline = pipeline(calls.clone());
        if let Some(wait) = wait_command(wait) {
            pipeline.add_command(wait);
        }
        pipeline
    };
    let mut answers = line.ask_waiting(commands).await?;
    if followed_by != Wait::No {
        check_copies(followed_by, read(answers.pop().unwrap_or(Ok(Value::Nil)))?)?;
    }
    Ok(answers_to(calls, answers))
}

/// The calls as one round trip.
pub(super) fn pipeline(calls: impl Iterator<Item = Call>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for call in calls {
        if call.asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(call.command);
    }
    pipeline.ignore_errors();
    pipeline
}

/// The answers to the calls alone, of those to their pipeline.
pub(super) fn answers_to(
    calls: impl Iterator<Item = Call>,
    answers: Vec<RedisResult<Value>>,
) -> Vec<RedisResult<Value>> {
    let mut answers = answers.into_iter();
    let answer = |call: Call| if call.asking { answers.nth(1) } else { answers.next() };
    calls.filter_map(answer).collect()
}

/// How many of those that wait go together; their bytes, in the order of their coming.
fn group_size(bytes: impl Iterator<Item = usize>) -> usize {
    let mut total = 0;
    let fits = |bytes: &usize| {
        total += bytes;
        total <= GROUP_BYTES_MAX
    };
    let count = bytes.take(GROUP_MAX).take_while(fits).count();
    count.max(1)
}

fn size(call: &Cmd) -> usize {
    let bytes = |arg: redis::Arg<&[u8]>| match arg {
        redis::Arg::Simple(bytes) => bytes.len(),
        _ => 0,
    };
    call.args_iter().map(bytes).sum()
}

fn wait_command(wait: Wait) -> Option<Cmd> {
    let millis = u64::try_from(COPIES_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    match wait {
        Wait::No => None,
        Wait::Replicas(replicas) => Some(cmd("WAIT").arg(replicas).arg(millis).take()),
        Wait::OwnDisk => Some(cmd("WAITAOF").arg(1).arg(0).arg(millis).take()),
    }
}

/// `copies`: in how many places the writes are, by the kind of place that is waited for.
fn check_copies(wait: Wait, copies: Value) -> Result<(), BackboneError> {
    let unavailable = |reason| Err(BackboneError::Unavailable { reason });
    match wait {
        Wait::No => Ok(()),
        Wait::Replicas(wanted) => match read::<u32>(Ok(copies))? {
            there if there < wanted => unavailable(format!("{there} of {wanted} replicas have confirmed")),
            _ => Ok(()),
        },
        Wait::OwnDisk => match read::<(u32, u32)>(Ok(copies))? {
            (0, _) => unavailable("Redis has not confirmed that it is on its disk".to_owned()),
            _ => Ok(()),
        },
    }
}

fn cut_off() -> BackboneError {
    BackboneError::Unavailable { reason: "the write was cut off".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_neither_too_many_writes_nor_too_many_bytes() {
        let group = |writes: &[usize]| group_size(writes.iter().copied());
        assert_eq!(group(&[10, 20, 30]), 3);
        assert_eq!(group(&[1; 1_000]), GROUP_MAX);
        assert_eq!(group(&[GROUP_BYTES_MAX / 2; 5]), 2);
        // Too large for any group: alone.
        assert_eq!(group(&[GROUP_BYTES_MAX + 1, 1]), 1);
    }

    #[test]
    fn an_answer_counts_when_its_copies_are_there() {
        let copies = |counts: &[i64]| Value::Array(counts.iter().map(|count| Value::Int(*count)).collect());
        let reason = |wait, copies| check_copies(wait, copies).unwrap_err().reason().to_owned();
        assert_eq!(check_copies(Wait::Replicas(2), Value::Int(2)), Ok(()));
        assert_eq!(check_copies(Wait::Replicas(1), Value::Int(3)), Ok(()));
        assert_eq!(reason(Wait::Replicas(2), Value::Int(1)), "1 of 2 replicas have confirmed");
        assert_eq!(check_copies(Wait::OwnDisk, copies(&[1, 0])), Ok(()));
        assert!(reason(Wait::OwnDisk, copies(&[0, 3])).contains("disk"));
        assert!(!check_copies(Wait::OwnDisk, Value::Int(1)).unwrap_err().may_retry());
        let sent = |wait| wait_command(wait).map(|wait| String::from_utf8(wait.get_packed_command()).unwrap());
        assert_eq!(sent(Wait::No), None);
        assert!(sent(Wait::Replicas(2)).unwrap().contains("WAIT\r\n$1\r\n2\r\n$4\r\n1000"));
        assert!(sent(Wait::OwnDisk).unwrap().contains("WAITAOF\r\n$1\r\n1\r\n$1\r\n0\r\n$4\r\n1000"));
    }
}
