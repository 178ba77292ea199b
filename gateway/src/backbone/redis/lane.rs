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
use super::line::{HealthBoard, Line, meaning, read};
use crate::backbone::BackboneError;

/// LIMIT: so many writes go in one round trip; a group has no more than a few megabytes then.
const GROUP_MAX: usize = 256;

/// How long an answer waits for its copies. Then it is not known whether there will be any.
const COPIES_TIMEOUT: Duration = Duration::from_secs(1);

/// One of several lanes; an agent's writes always take the same.
pub(super) struct Lane {
    line: Line,
    health: HealthBoard,
    waiting: Mutex<Vec<Asked>>,
    leader: tokio::sync::Mutex<()>,
}

struct Asked {
    call: Cmd,
    answer: oneshot::Sender<Result<Value, BackboneError>>,
}

impl Lane {
    pub(super) fn new(line: Line, health: HealthBoard) -> Lane {
        Lane { line, health, waiting: Mutex::default(), leader: tokio::sync::Mutex::default() }
    }

    /// Has a write done and waits until it is as durable as it is to be.
    pub(super) async fn write(&self, call: Cmd) -> Result<Value, BackboneError> {
        let (answer, mut answered) = oneshot::channel();
        self.waiting().push(Asked { call, answer });
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
        let count = waiting.len().min(GROUP_MAX);
        waiting.drain(..count).collect()
    }

    async fn carry_out(&self, group: Vec<Asked>) {
        let answers = self.answers(&group).await;
        match &answers {
            Ok(answers) => match answers.iter().find_map(|answer| answer.as_ref().err()) {
                Some(error) => self.health.down(error),
                None => self.health.up(),
            },
            Err(error) => self.health.down(error),
        }
        let answers = answers.unwrap_or_else(|error| vec![Err(error); group.len()]);
        for (asked, answer) in group.into_iter().zip(answers) {
            // Who no longer waits has given up; the write stands, as after any answer that is lost.
            let _unheard = asked.answer.send(answer);
        }
    }

    async fn answers(&self, group: &[Asked]) -> Result<Vec<Result<Value, BackboneError>>, BackboneError> {
        let mut answers = self.send(group).await?;
        if answers.iter().any(is_function_missing) {
            // A Redis that was emptied, or failed over to an empty one. Nothing of such a call was done.
            self.line.load_functions().await?;
            answers = self.send(group).await?;
        }
        Ok(answers.into_iter().map(|answer| answer.map_err(|error| meaning(&error))).collect())
    }

    /// The answers to the group's calls, when their writes are as durable as they are to be.
    async fn send(&self, group: &[Asked]) -> Result<Vec<RedisResult<Value>>, BackboneError> {
        let wait = self.line.wait().await?;
        let mut pipeline = Pipeline::with_capacity(group.len() + 1);
        for asked in group {
            pipeline.add_command(asked.call.clone());
        }
        let waits = wait_command(wait).map(|wait| pipeline.add_command(wait)).is_some();
        let mut answers = self.line.ask(pipeline.ignore_errors()).await?;
        if waits {
            check_copies(wait, read(answers.pop().unwrap_or(Ok(Value::Nil)))?)?;
        }
        Ok(answers)
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Asked>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

fn is_function_missing(answer: &RedisResult<Value>) -> bool {
    answer.as_ref().is_err_and(|error| error.to_string().contains("Function not found"))
}

fn cut_off() -> BackboneError {
    BackboneError::Unavailable { reason: "the write was cut off".to_owned() }
}
