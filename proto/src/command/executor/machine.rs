//! The machine of the agent's end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::tell::Talk;
use super::{Answer, Attempt, ExecutorAction, ExecutorConfig, ExecutorInput};
use crate::command::{
    BackboneTime, CommandId, Dispatch, Held, Journal, JournalHeard, JournalMark, JournalRecord, JournalStep, Order,
    Outcome, Phase,
};
use crate::time::MonoTime;

/// Runs an agent's commands. One of it lives in one run of the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Executor {
    pub(super) config: ExecutorConfig,
    pub(super) journal: Journal,
    /// Changes up to here are on the disk.
    pub(super) durable: u64,
    /// Changes up to here are known to the backbone.
    confirmed: u64,
    time: Option<BackboneTime>,
    /// Between a Welcome and the loss of its connection.
    pub(super) talk: Option<Talk>,
    /// What the last Welcome said. Before the first one this run begins nothing and writes nothing: so the length in its
    /// Hello is that of the file as it was found, and shows one that was put back.
    welcome: Option<JournalHeard>,
    /// What the backbone heard of is older than what was forgotten: a command that is not here may have been.
    past_lost: bool,
    running: BTreeMap<CommandId, Run>,
    /// Put off by the device until then.
    waits: BTreeMap<CommandId, MonoTime>,
    cancels: BTreeSet<CommandId>,
    /// Decided, and not yet given to the shell.
    records: Vec<JournalRecord>,
    records_in_file: usize,
    rewrite: bool,
    timer: Option<MonoTime>,
}

/// An attempt of this run of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Run {
    attempt: Attempt,
    /// The change that says so. Nothing happens at the device before it is on the disk.
    begins_at: u64,
    started: bool,
}

impl Executor {
    /// An executor on the journal as it was found on the disk.
    pub fn new(config: ExecutorConfig, journal: Journal) -> Executor {
        Executor {
            config,
            durable: journal.length(),
            records_in_file: journal.count() + 1,
            journal,
            confirmed: 0,
            time: None,
            talk: None,
            welcome: None,
            past_lost: false,
            running: BTreeMap::new(),
            waits: BTreeMap::new(),
            cancels: BTreeSet::new(),
            records: Vec::new(),
            rewrite: false,
            timer: None,
        }
    }

    /// The journal, as decided.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What the next Hello says: only what is on the disk.
    pub fn mark(&self) -> JournalMark {
        let (id, boot, forgotten) = (self.journal.id(), self.config.boot, self.journal.forgotten());
        JournalMark { id, boot, length: self.durable, forgotten: forgotten.min(self.durable) }
    }

    /// Feeds one input; appends what the shell must now do.
    pub fn handle(&mut self, now: MonoTime, input: ExecutorInput, actions: &mut Vec<ExecutorAction>) {
        match input {
            ExecutorInput::Welcomed { heard, time } => self.on_welcome(heard, time),
            ExecutorInput::TimeTold(time) => {
                self.time = Some(self.time.map_or(time, |known| known.better(time, now)));
            }
            ExecutorInput::Dispatched(dispatch) => self.on_dispatch(now, dispatch),
            ExecutorInput::Confirmed(confirm) => self.confirmed = self.confirmed.max(confirm.through),
            ExecutorInput::Disconnected => self.talk = None,
            ExecutorInput::Stored { through } => self.on_stored(now, through, actions),
            ExecutorInput::Answered { id, attempt, answer } => self.on_answer(now, &id, attempt, answer),
            ExecutorInput::TimerFired => self.timer = None,
        }
        if self.welcome.is_some() {
            self.end_what_may_not_begin(now);
            self.begin(now);
            self.flush(actions);
            self.arm(now, actions);
        }
        self.tell(actions);
    }

    fn on_welcome(&mut self, heard: JournalHeard, time: BackboneTime) {
        self.welcome = Some(heard);
        // Another gateway's clock may differ: of this connection, only what this connection told counts.
        self.time = Some(time);
        self.confirmed = heard.through;
        self.past_lost = heard.through < self.journal.forgotten();
        self.talk = Some(Talk::new(heard.through));
        if self.journal.length() < heard.through {
            self.change_at(heard.through, JournalStep::Skipped);
        }
    }

    fn on_dispatch(&mut self, now: MonoTime, dispatch: Dispatch) {
        for Order { command, cancel } in dispatch.orders {
            let Some(talk) = self.talk.as_mut() else { return };
            let id = command.id.clone();
            if let Some(held) = self.journal.get(&id) {
                if cancel && held.command == command && !held.has_ended() {
                    self.cancels.insert(id.clone());
                }
                talk.ask(id);
                continue;
            }
            if self.journal.count() >= self.config.commands_max {
                self.forget(now);
            }
            if self.journal.count() >= self.config.commands_max {
                self.talk.as_mut().into_iter().for_each(|talk| talk.refuse(id.clone()));
                continue;
            }
            if cancel {
                self.cancels.insert(id.clone());
            }
            let is_late = !self.time.is_some_and(|time| time.is_before(now, command.deadline));
            self.change(JournalStep::Arrived { command, boot: self.config.boot });
            if is_late && self.past_lost {
                self.move_to(&id, Phase::Ended(Outcome::Interrupted));
            }
        }
    }

    fn on_stored(&mut self, now: MonoTime, through: u64, actions: &mut Vec<ExecutorAction>) {
        self.durable = self.durable.max(through.min(self.journal.length()));
        let durable = self.durable;
        let ready = self.running.iter().filter(|(_, run)| !run.started && run.begins_at <= durable);
        let mut ready: Vec<(u64, CommandId)> = ready.map(|(id, run)| (run.begins_at, id.clone())).collect();
        ready.sort_unstable();
        for (_, id) in ready {
            let Some(held) = self.journal.get(&id) else { continue };
            let (command, begun_before) = (held.command.clone(), held.doubt || held.boot != self.config.boot);
            // The disk may have taken its time.
            if self.time.is_some_and(|time| time.is_before(now, command.deadline)) {
                let Some(run) = self.running.get_mut(&id) else { continue };
                run.started = true;
                actions.push(ExecutorAction::Start { command, attempt: run.attempt });
            } else {
                self.running.remove(&id);
                let outcome = if begun_before { Outcome::Interrupted } else { Outcome::Expired };
                self.move_to(&id, Phase::Ended(outcome));
            }
        }
    }

    fn on_answer(&mut self, now: MonoTime, id: &CommandId, attempt: Attempt, answer: Answer) {
        if !self.running.get(id).is_some_and(|run| run.started && run.attempt == attempt) {
            return;
        }
        let phase = match answer {
            Answer::Succeeded(result) => Phase::Ended(Outcome::Succeeded(result)),
            Answer::Failed(failure) => Phase::Ended(Outcome::Failed(failure)),
            Answer::Busy { retry_after } => {
                self.waits.insert(id.clone(), now + retry_after);
                Phase::Delivered
            }
            Answer::Progress(progress) => {
                return self.talk.as_mut().into_iter().for_each(|talk| talk.progress(id, &progress));
            }
        };
        self.running.remove(id);
        self.move_to(id, phase);
    }

    /// Whether it may have taken effect without this run of the process knowing. Asked of what does not run.
    fn is_doubtful(&self, held: &Held) -> bool {
        held.doubt || held.boot != self.config.boot || held.phase == Phase::Executing
    }

    fn end_what_may_not_begin(&mut self, now: MonoTime) {
        let open = self.journal.commands().filter(|held| !held.has_ended());
        let waiting = open.filter(|held| !self.running.contains_key(&held.command.id));
        let over = waiting.filter_map(|held| {
            let is_doubtful = self.is_doubtful(held);
            let is_cancelled = self.cancels.contains(&held.command.id);
            let is_late = self.time.is_some_and(|time| !time.is_before(now, held.command.deadline));
            // On a card that was put back, what came in an earlier boot may have ended long ago.
            let is_old = held.boot != self.config.boot && self.welcome.is_some_and(|heard| heard.put_back);
            let ends = is_cancelled || is_late || is_old || (is_doubtful && !held.command.idempotent);
            // `expired` and `cancelled` promise that nothing has happened.
            let outcome = match (is_doubtful, is_cancelled) {
                (true, _) => Outcome::Interrupted,
                (false, true) => Outcome::Cancelled,
                (false, false) => Outcome::Expired,
            };
            ends.then(|| (held.command.id.clone(), outcome))
        });
        for (id, outcome) in over.collect::<Vec<_>>() {
            self.move_to(&id, Phase::Ended(outcome));
        }
    }

    fn begin(&mut self, now: MonoTime) {
        let Some(time) = self.time else { return };
        let open = self.journal.commands().filter(|held| !held.has_ended());
        let mut busy: BTreeMap<_, usize> = BTreeMap::new();
        let mut waiting = Vec::new();
        for held in open {
            let id = &held.command.id;
            if self.running.contains_key(id) {
                *busy.entry(&held.command.device).or_default() += 1;
            } else if self.waits.get(id).is_none_or(|until| *until <= now) && time.is_before(now, held.command.deadline)
            {
                waiting.push(held);
            }
        }
        waiting.sort_by_key(|held| (Reverse(held.command.priority), held.place.arrived));
        let mut begin = Vec::new();
        for held in waiting {
            let lanes = self.config.lanes.get(&held.command.device).copied().unwrap_or(1);
            let taken = busy.entry(&held.command.device).or_default();
            if *taken < lanes {
                *taken += 1;
                begin.push(held.command.id.clone());
            }
        }
        for id in begin {
            self.waits.remove(&id);
            self.move_to(&id, Phase::Executing);
            let attempt = Attempt(self.journal.get(&id).map_or(0, |held| held.attempts));
            self.running.insert(id, Run { attempt, begins_at: self.journal.length(), started: false });
        }
    }

    fn move_to(&mut self, id: &CommandId, phase: Phase) {
        if matches!(phase, Phase::Ended(_)) {
            self.cancels.remove(id);
            self.waits.remove(id);
        }
        self.change(JournalStep::Moved { id: id.clone(), phase });
    }

    fn change(&mut self, step: JournalStep) {
        self.change_at(self.journal.length() + 1, step);
    }

    fn change_at(&mut self, position: u64, step: JournalStep) {
        self.journal.apply(position, step.clone()).expect("only what is open is changed");
        self.records.push(JournalRecord::Step { position, step });
    }

    /// Makes room: of what the backbone has heard, and whose deadline has passed by far.
    fn forget(&mut self, now: MonoTime) {
        let Some(time) = self.time else { return };
        let kept = i64::try_from(self.config.kept_after.as_micros()).unwrap_or(i64::MAX);
        let known = self.confirmed.min(self.durable);
        let is_over = |held: &&Held| {
            held.has_ended()
                && held.place.changed <= known
                && held.command.deadline.offset_by(kept) <= time.earliest(now)
        };
        let over: Vec<CommandId> =
            self.journal.commands().filter(is_over).map(|held| held.command.id.clone()).collect();
        self.rewrite |= !over.is_empty();
        for id in &over {
            self.journal.forget(id);
        }
    }

    fn flush(&mut self, actions: &mut Vec<ExecutorAction>) {
        let records = std::mem::take(&mut self.records);
        self.records_in_file += records.len();
        if self.rewrite || (!records.is_empty() && self.records_in_file > self.config.records_max) {
            let records = self.journal.records();
            (self.rewrite, self.records_in_file) = (false, records.len());
            actions.push(ExecutorAction::Rewrite { records, through: self.journal.length() });
        } else if !records.is_empty() {
            actions.push(ExecutorAction::Append(records));
        }
    }

    /// The next moment at which something may begin or must end.
    fn arm(&mut self, now: MonoTime, actions: &mut Vec<ExecutorAction>) {
        let open = self.journal.commands().filter(|held| !held.has_ended());
        let waiting = open.filter(|held| !self.running.contains_key(&held.command.id));
        let moments = waiting.flat_map(|held| {
            let passes = self.time.map(|time| time.passes_at(now, held.command.deadline));
            let wait = self.waits.get(&held.command.id).copied().filter(|until| now < *until);
            passes.into_iter().chain(wait)
        });
        let next = moments.min();
        if let Some(at) = next.filter(|_| next != self.timer) {
            self.timer = next;
            actions.push(ExecutorAction::ArmTimer(at.max(now + Duration::from_millis(1))));
        }
    }
}
