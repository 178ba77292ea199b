//! The world: all that is, all that can happen next, and what happens then.

use std::collections::BTreeMap;
use std::time::Duration;

use lockgate_proto::command::{Answer, Book, Command, CommandId, Fields, Journal, Priority};
use lockgate_proto::ids::{CommandName, DeviceName, UserName};
use lockgate_proto::time::{MonoTime, UnixMicros};

use crate::agent::Agent;
use crate::gateway::{Gateway, Ghost};

/// Time passes in steps of this length; longer than any retry of a gateway.
pub(crate) const TICK: Duration = Duration::from_secs(10);
const BEGIN: UnixMicros = UnixMicros(1_700_000_000_000_000);

/// How large a world is, and how often each fault may happen in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    pub(crate) ticks: u32,
    pub(crate) journal_max: usize,
    /// Faults of all kinds together.
    pub(crate) faults: u8,
    /// Which kinds there are.
    pub(crate) kinds: &'static [Fault],
    /// What travels is encoded and decoded.
    pub(crate) by_wire: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// The agent's process dies; of what was not fsynced, so many records are on the disk all the same.
    Kill {
        kept: u8,
    },
    /// The same, by a power cut.
    LosePower {
        kept: u8,
    },
    /// The agent sees its connection break; the gateway goes on with what is on the wire.
    Break,
    /// A gateway's process dies; what it asked of the backbone may still be done.
    CrashGateway(u8),
    /// The backbone does what it is asked, and the answer is lost.
    LoseAnswer(u8),
    /// A request gets stuck, and may run later; its gateway hears nothing.
    Delay(u8),
    /// A stuck request runs, and its answer goes nowhere.
    RunGhost,
    /// What goes up to the gateway, or down to the agent, comes twice.
    DoubleUp(u8),
    DoubleDown,
    SaveStore,
    RollBackStore,
    SaveCard,
    PutBackCard,
    WipeCard,
    /// The device puts off what it was told.
    Busy,
    /// The sender takes its first command back.
    Cancel,
}

pub(crate) const ALL_FAULTS: &[Fault] = &[
    Fault::Kill { kept: 0 },
    Fault::Kill { kept: 1 },
    Fault::Kill { kept: 2 },
    Fault::LosePower { kept: 0 },
    Fault::LosePower { kept: 1 },
    Fault::Break,
    Fault::CrashGateway(0),
    Fault::CrashGateway(1),
    Fault::LoseAnswer(0),
    Fault::LoseAnswer(1),
    Fault::Delay(0),
    Fault::Delay(1),
    Fault::RunGhost,
    Fault::DoubleUp(0),
    Fault::DoubleUp(1),
    Fault::DoubleDown,
    Fault::SaveStore,
    Fault::RollBackStore,
    Fault::SaveCard,
    Fault::PutBackCard,
    Fault::WipeCard,
    Fault::Busy,
    Fault::Cancel,
];

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// The sender's next command is accepted.
    Accept,
    /// The agent connects to this gateway.
    Connect(u8),
    /// The oldest write of the agent is on the disk.
    Fsync,
    /// The device did what it was told.
    Done(CommandId),
    /// A message arrives.
    Up(u8),
    Down,
    /// The backbone does what a gateway asked, and answers.
    Answer(u8),
    /// A gateway that knows no answer asks again.
    AskAgain(u8),
    Tick,
    Fault(Fault),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) rules: Rules,
    pub(crate) faults_left: u8,
    pub(crate) ticks: u32,
    pub(crate) agent: Agent,
    pub(crate) gateways: [Gateway; 2],
    pub(crate) ghost: Option<Ghost>,
    pub(crate) sessions: u64,
    pub(crate) book: Book,
    pub(crate) saved: Option<Book>,
    pub(crate) card: Option<Journal>,
    /// Not yet accepted, the next one last.
    pub(crate) orders: Vec<Command>,
    pub(crate) devices: Devices,
    /// And the store that was saved had not heard of it.
    pub(crate) card_changed: bool,
    /// The backbone lost something that it had told.
    pub(crate) went_back: bool,
}

/// What the devices did: counted there, where no machine of ours can hide it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Devices {
    pub(crate) executions: BTreeMap<CommandId, u32>,
    /// One that is not idempotent has begun a second time.
    pub(crate) twice: bool,
    /// Something began at or after its deadline.
    pub(crate) late: bool,
    /// Something began that was not the command of its id.
    pub(crate) forged: bool,
}

impl Devices {
    pub(crate) fn began(&mut self, command: &Command) {
        let times = self.executions.entry(command.id.clone()).or_default();
        *times += 1;
        self.twice |= *times > 1 && !command.idempotent;
    }

    /// A device that was busy says so because it did nothing.
    pub(crate) fn did_nothing(&mut self, id: &CommandId) {
        self.executions.entry(id.clone()).and_modify(|times| *times -= 1);
    }
}

pub(crate) fn command(id: &str, device: &str, idempotent: bool, priority: Priority, ticks: u32) -> Command {
    Command {
        id: CommandId::new(id).expect("it is an id"),
        device: DeviceName::new(device).expect("it is a name"),
        name: CommandName::new("open").expect("it is a name"),
        arguments: Fields::default(),
        idempotent,
        priority,
        // Between two steps of time.
        deadline: unix(ticks).offset_by(5_000_000),
        sender: UserName::new("ann").expect("it is a name"),
    }
}

pub(crate) fn unix(ticks: u32) -> UnixMicros {
    BEGIN.offset_by(mono(ticks).micros())
}

pub(crate) fn mono(ticks: u32) -> MonoTime {
    MonoTime(TICK * (ticks + 1))
}

impl World {
    pub(crate) fn new(rules: Rules, orders: Vec<Command>) -> World {
        let mut world = World {
            faults_left: rules.faults,
            ticks: 0,
            agent: Agent::new(),
            gateways: [Gateway::default(), Gateway::default()],
            ghost: None,
            sessions: 0,
            book: Book::default(),
            saved: None,
            card: None,
            orders: orders.into_iter().rev().collect(),
            devices: Devices::default(),
            card_changed: false,
            went_back: false,
            rules,
        };
        world.start_agent();
        world
    }

    pub(crate) fn now(&self) -> MonoTime {
        mono(self.ticks)
    }

    pub(crate) fn backbone_time(&self) -> UnixMicros {
        unix(self.ticks)
    }

    /// What happens by itself, sooner or later, if nothing is in its way.
    pub(crate) fn progress(&self) -> Vec<Event> {
        let mut events = self.agent.events();
        if !self.orders.is_empty() {
            events.push(Event::Accept);
        }
        for (at, gateway) in (0u8..).zip(&self.gateways) {
            events.extend(gateway.events(at, self.agent.connected == Some(at)));
        }
        if self.ticks < self.rules.ticks {
            events.push(Event::Tick);
        }
        events
    }

    /// What may happen besides.
    pub(crate) fn faults(&self) -> Vec<Event> {
        if self.faults_left == 0 {
            return Vec::new();
        }
        self.rules.kinds.iter().filter(|fault| self.can_happen(**fault)).map(|fault| Event::Fault(*fault)).collect()
    }

    fn can_happen(&self, fault: Fault) -> bool {
        let has_ask = |at: u8| self.gateways[usize::from(at)].has_ask();
        match fault {
            Fault::Kill { kept } | Fault::LosePower { kept } => usize::from(kept) <= self.agent.unsynced(),
            Fault::Break => self.agent.connected.is_some(),
            Fault::CrashGateway(at) => self.gateways[usize::from(at)].is_up(),
            Fault::LoseAnswer(at) => has_ask(at),
            Fault::Delay(at) => self.ghost.is_none() && has_ask(at),
            Fault::RunGhost => self.ghost.is_some(),
            Fault::DoubleUp(at) => self.gateways[usize::from(at)].has_up(),
            Fault::DoubleDown => self.agent.connected.is_some_and(|at| self.gateways[usize::from(at)].has_down()),
            Fault::SaveStore => self.saved.as_ref() != Some(&self.book),
            // Of the two memories, one lives: nothing could be promised where both forget the same command.
            Fault::RollBackStore => !self.card_changed && self.saved.as_ref().is_some_and(|saved| *saved != self.book),
            Fault::SaveCard => self.card.as_ref() != Some(&self.agent.disk),
            Fault::PutBackCard => !self.went_back && self.card.is_some(),
            Fault::WipeCard => !self.went_back && self.agent.disk.length() > 0,
            Fault::Busy => self.agent.at_device().next().is_some(),
            Fault::Cancel => self.book.commands.values().next().is_some_and(|kept| !kept.cancel),
        }
    }

    pub(crate) fn happen(&mut self, event: &Event) {
        match event {
            Event::Accept => self.accept(),
            Event::Connect(at) => self.connect(*at),
            Event::Fsync => self.fsync(),
            Event::Done(id) => self.device_says(id, Answer::Succeeded(Fields::default())),
            Event::Up(at) => self.deliver_up(*at, false),
            Event::Down => self.deliver_down(false),
            Event::Answer(at) => self.answer(*at),
            Event::AskAgain(at) => self.ask_again(*at),
            Event::Tick => self.tick(),
            Event::Fault(fault) => {
                self.faults_left -= 1;
                self.fault(*fault);
            }
        }
        self.gateways_notice();
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Kill { kept } => self.restart_agent(kept, false),
            Fault::LosePower { kept } => self.restart_agent(kept, true),
            Fault::Break => self.break_connection(),
            Fault::CrashGateway(at) => self.crash_gateway(at),
            Fault::LoseAnswer(at) => self.lose_answer(at),
            Fault::Delay(at) => self.delay(at),
            Fault::RunGhost => self.run_ghost(),
            Fault::DoubleUp(at) => self.deliver_up(at, true),
            Fault::DoubleDown => self.deliver_down(true),
            Fault::SaveStore => {
                self.saved = Some(self.book.clone());
                let known = self.book.mark.journal.is_some_and(|journal| journal.boot == self.agent.boot());
                self.card_changed &= !known;
            }
            Fault::RollBackStore => {
                self.book = self.saved.clone().expect("it was saved");
                self.went_back = true;
                self.nudge();
            }
            Fault::SaveCard => self.card = Some(self.agent.disk.clone()),
            Fault::PutBackCard => {
                self.card_changed = true;
                self.change_card(self.card.clone().expect("it was saved"));
            }
            Fault::WipeCard => {
                self.card_changed = true;
                let card = self.agent.empty_card();
                self.change_card(card);
            }
            Fault::Busy => {
                let id = self.agent.at_device().next().expect("there is one").clone();
                self.device_says(&id, Answer::Busy { retry_after: Duration::from_secs(1) });
            }
            Fault::Cancel => {
                let id = self.book.commands.keys().next().expect("there is one").clone();
                let now = self.backbone_time();
                self.book.cancel(now, &id);
                self.nudge();
            }
        }
    }

    fn accept(&mut self) {
        let order = self.orders.pop().expect("there is one");
        let now = self.backbone_time();
        self.book.accept(now, order, true).expect("ids differ, and the deadline lies ahead");
        self.nudge();
    }

    fn tick(&mut self) {
        self.ticks += 1;
        let now = self.backbone_time();
        self.book.pass_time(now);
        self.orders.retain(|order| now < order.deadline);
        self.time_passes_for_agent();
        self.time_passes_for_gateways();
    }
}
