//! The agent's side of the world: a process, a disk, devices.

use std::collections::{BTreeMap, VecDeque};

use lockgate_proto::command::{
    Answer, Attempt, BackboneTime, BootId, CommandId, Executor, ExecutorAction, ExecutorConfig, ExecutorInput, Journal,
    JournalId, JournalRecord,
};
use lockgate_proto::convert::{journal_record_from_bytes, journal_record_to_bytes};
use lockgate_proto::time::MonoTime;

use crate::gateway::Down;
use crate::world::{Event, TICK, World};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Agent {
    process: Executor,
    /// What is on the disk for sure.
    pub(crate) disk: Journal,
    /// Written, and not fsynced.
    writes: VecDeque<Write>,
    boot: u64,
    wipes: u64,
    /// The gateway that it believes to be connected to, and since when.
    pub(crate) connected: Option<u8>,
    asked_at: MonoTime,
    /// The gateway that it will try next: each time the other one.
    next: u8,
    /// What the device has been told in this run of the process, and has not answered.
    started: BTreeMap<CommandId, Attempt>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Write {
    Append(Vec<JournalRecord>),
    Rewrite(Vec<JournalRecord>),
}

impl Write {
    /// Parts of which any number may be on the disk when the power goes: a new file is there or is not.
    fn parts(&self) -> usize {
        match self {
            Write::Append(records) => records.len(),
            Write::Rewrite(_) => 1,
        }
    }

    /// What of it is on the disk, if so many parts are.
    fn torn(self, kept: usize) -> Option<Write> {
        match self {
            Write::Append(mut records) => {
                records.truncate(kept);
                Some(Write::Append(records))
            }
            Write::Rewrite(records) => (kept > 0).then_some(Write::Rewrite(records)),
        }
    }

    /// What the disk holds when the write is there.
    fn onto(self, disk: &Journal) -> Journal {
        let records = match self {
            Write::Append(more) => disk.records().into_iter().chain(more).collect(),
            Write::Rewrite(records) => records,
        };
        Journal::replay(records).expect("what the executor writes is a journal")
    }
}

impl Agent {
    pub(crate) fn new() -> Agent {
        Agent {
            process: Executor::new(ExecutorConfig::new(BootId(0)), Journal::new(JournalId(0))),
            disk: Journal::new(JournalId(0)),
            writes: VecDeque::new(),
            boot: 0,
            wipes: 0,
            connected: None,
            asked_at: MonoTime::ZERO,
            next: 0,
            started: BTreeMap::new(),
        }
    }

    pub(crate) fn boot(&self) -> BootId {
        BootId(self.boot)
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.writes.iter().map(Write::parts).sum()
    }

    pub(crate) fn at_device(&self) -> impl Iterator<Item = &CommandId> {
        self.started.keys()
    }

    /// An empty card: the agent will begin another journal.
    pub(crate) fn empty_card(&mut self) -> Journal {
        self.wipes += 1;
        Journal::new(JournalId(self.wipes))
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = self.started.keys().cloned().map(Event::Done).collect();
        if !self.writes.is_empty() {
            events.push(Event::Fsync);
        }
        if self.connected.is_none() {
            events.push(Event::Connect(self.next));
        }
        events
    }
}

impl World {
    pub(crate) fn start_agent(&mut self) {
        let mut config = ExecutorConfig::new(BootId(self.agent.boot));
        config.commands_max = self.rules.journal_max;
        config.records_max = 4 * self.rules.journal_max;
        config.kept_after = 2 * TICK;
        self.agent.process = Executor::new(config, self.agent.disk.clone());
    }

    /// The process ends, and starts anew: of what it wrote, the disk has all that was fsynced, and `kept` records more.
    pub(crate) fn restart_agent(&mut self, kept: u8, new_boot: bool) {
        self.agent.connected = None;
        self.agent.started.clear();
        let mut kept = usize::from(kept);
        for write in std::mem::take(&mut self.agent.writes) {
            let parts = write.parts().min(kept);
            kept -= parts;
            if let Some(write) = write.torn(parts) {
                self.agent.disk = write.onto(&self.agent.disk);
            }
        }
        self.agent.boot += u64::from(new_boot);
        self.agent_left();
        self.start_agent();
    }

    /// The same, with another card.
    pub(crate) fn change_card(&mut self, card: Journal) {
        self.restart_agent(0, true);
        self.agent.disk = card;
        self.start_agent();
    }

    pub(crate) fn connect(&mut self, at: u8) {
        let mark = self.agent.process.mark();
        self.agent.connected = Some(at);
        self.agent.next = 1 - at;
        self.agent.asked_at = self.now();
        self.open_session(at, mark);
    }

    pub(crate) fn break_connection(&mut self) {
        self.agent.connected = None;
        self.agent_left();
        self.feed_agent(ExecutorInput::Disconnected);
    }

    pub(crate) fn fsync(&mut self) {
        let write = self.agent.writes.pop_front().expect("there is one");
        self.agent.disk = write.onto(&self.agent.disk);
        let through = self.agent.disk.length();
        self.feed_agent(ExecutorInput::Stored { through });
    }

    pub(crate) fn device_says(&mut self, id: &CommandId, answer: Answer) {
        let attempt = self.agent.started.remove(id).expect("it was told");
        if let Answer::Busy { .. } = answer {
            self.devices.did_nothing(id);
        }
        self.feed_agent(ExecutorInput::Answered { id: id.clone(), attempt, answer });
    }

    pub(crate) fn hear(&mut self, down: Down) {
        let input = match down {
            Down::Welcome { heard, server } => ExecutorInput::Welcomed {
                heard,
                time: BackboneTime { asked: self.agent.asked_at, answered: self.now(), server },
            },
            Down::Dispatch(dispatch) => ExecutorInput::Dispatched(dispatch),
            Down::Confirm(confirm) => ExecutorInput::Confirmed(confirm),
        };
        self.feed_agent(input);
    }

    pub(crate) fn time_passes_for_agent(&mut self) {
        self.feed_agent(ExecutorInput::TimerFired);
    }

    fn write(&mut self, how: fn(Vec<JournalRecord>) -> Write, records: Vec<JournalRecord>) {
        let by_wire = |record: &JournalRecord| {
            journal_record_from_bytes(journal_record_to_bytes(record).into()).expect("it is a record")
        };
        let records = if self.rules.by_wire { records.iter().map(by_wire).collect() } else { records };
        self.agent.writes.push_back(how(records));
    }

    pub(crate) fn feed_agent(&mut self, input: ExecutorInput) {
        let now = self.now();
        let mut actions = Vec::new();
        self.agent.process.handle(now, input, &mut actions);
        for action in actions {
            match action {
                ExecutorAction::Append(records) => self.write(Write::Append, records),
                ExecutorAction::Rewrite { records, .. } => self.write(Write::Rewrite, records),
                ExecutorAction::Start { command, attempt } => {
                    let on_disk = self.agent.disk.get(&command.id).is_some_and(|held| held.command == command);
                    self.devices.forged |= !on_disk;
                    self.devices.late |= command.deadline <= self.backbone_time();
                    self.devices.began(&command);
                    self.agent.started.insert(command.id, attempt);
                }
                ExecutorAction::Send(updates) => self.send_up(updates),
                // Every step of time feeds it.
                ExecutorAction::ArmTimer(_) => {}
            }
        }
    }
}
