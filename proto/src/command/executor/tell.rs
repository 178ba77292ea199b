//! What the agent tells of its journal, and what it has told in this connection.

use std::collections::{BTreeMap, BTreeSet};

use super::{Executor, ExecutorAction};
use crate::command::{CommandId, CommandUpdates, Held, Progress, ProgressReport, Report};
use crate::limits::REPORTS_MAX;

/// One connection, from its Welcome on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Talk {
    /// Changes up to here were told, in this connection or before it.
    sent: u64,
    /// Dispatched although they are known: the gateway wants to hear of them.
    asked: BTreeSet<CommandId>,
    progress: BTreeMap<CommandId, Progress>,
    full: BTreeSet<CommandId>,
}

impl Talk {
    pub(super) fn new(sent: u64) -> Talk {
        Talk { sent, asked: BTreeSet::new(), progress: BTreeMap::new(), full: BTreeSet::new() }
    }

    pub(super) fn ask(&mut self, id: CommandId) {
        self.asked.insert(id);
    }

    pub(super) fn refuse(&mut self, id: CommandId) {
        self.full.insert(id);
    }

    pub(super) fn progress(&mut self, id: &CommandId, progress: &Progress) {
        self.progress.insert(id.clone(), progress.clone());
    }

    fn has_news(&self, durable: u64) -> bool {
        self.sent < durable || !self.asked.is_empty() || !self.progress.is_empty() || !self.full.is_empty()
    }
}

impl Executor {
    /// Tells all that is on the disk and was not told yet.
    pub(super) fn tell(&mut self, actions: &mut Vec<ExecutorAction>) {
        let Some(mut talk) = self.talk.take() else { return };
        while talk.has_news(self.durable) {
            let Some(updates) = self.next_updates(&mut talk) else { break };
            actions.push(ExecutorAction::Send(updates));
        }
        self.talk = Some(talk);
    }

    /// `None`: what is left to tell waits for the disk.
    fn next_updates(&self, talk: &mut Talk) -> Option<CommandUpdates> {
        let is_news = |held: &&Held| talk.sent < held.place.changed && held.place.changed <= self.durable;
        let mut news: Vec<&Held> = self.journal.commands().filter(is_news).collect();
        news.sort_by_key(|held| held.place.changed);
        let through = match news.get(REPORTS_MAX) {
            // What was superseded in between needs no telling; the rest comes in the next message.
            Some(_) => news[REPORTS_MAX - 1].place.changed,
            None => talk.sent.max(self.durable),
        };
        news.truncate(REPORTS_MAX);
        let after = std::mem::replace(&mut talk.sent, through);
        let mut reports: Vec<Report> = news.into_iter().map(|held| report(held, false)).collect();
        let asked = talk.asked.iter().filter_map(|id| self.journal.get(id));
        let known = asked.filter(|held| held.place.changed <= self.durable);
        let known: Vec<&Held> = known.take(REPORTS_MAX - reports.len()).collect();
        for held in known {
            talk.asked.remove(&held.command.id);
            reports.retain(|report| report.id != held.command.id);
            reports.push(report(held, true));
        }
        let progress = std::mem::take(&mut talk.progress).into_iter();
        let progress = progress.map(|(id, progress)| ProgressReport { id, progress }).collect();
        let full = std::mem::take(&mut talk.full).into_iter().collect();
        let updates = CommandUpdates { after, through, reports, progress, full };
        let is_empty =
            after == through && updates.reports.is_empty() && updates.progress.is_empty() && updates.full.is_empty();
        (!is_empty).then_some(updates)
    }
}

fn report(held: &Held, whole: bool) -> Report {
    let command = (whole || held.has_ended()).then(|| held.command.clone());
    Report { id: held.command.id.clone(), position: held.place.changed, state: held.phase.state(), command }
}
