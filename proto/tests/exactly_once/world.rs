//! Agents, wire, gateways and backbone in one thread, stepped by a script.

mod ending;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::convert::{
    decode_agent_frame, decode_gateway_frame, encode_agent_frame, encode_gateway_frame, encode_record,
};
use lockgate_proto::ids::{AgentName, DeviceName, SessionId, Site};
use lockgate_proto::link::agent::{self, AgentConfig, AgentLink, ReadId};
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::link::frame::{AgentFrame, GatewayFrame, LinkLimits};
use lockgate_proto::link::gateway::{self, EdgeConfig, EdgeSession, Now};
use lockgate_proto::ranges::SeqRange;
use lockgate_proto::record::{Presence, Record};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::{MonoTime, UnixMicros};
use proptest::prelude::*;

use crate::backbone::{Answer, Backbone, Request};
use crate::promises::Watch;
use crate::queue::{Before, Queue};
use crate::random::Random;
use crate::script::{Fault, Op, Rules};

const BEGIN: UnixMicros = UnixMicros(1_700_000_000_000_000);
const RECORD_BYTES_MAX: usize = 100;

struct Agent {
    queue: Queue,
    link: AgentLink,
    connection: Option<usize>,
    reads: VecDeque<(ReadId, Epoch, Lane, SeqRange, usize)>,
    timer: Option<MonoTime>,
    watch: Option<Watch>,
    /// How its last connection was closed.
    closed: Option<CloseCode>,
}

struct Connection {
    agent: usize,
    session: EdgeSession,
    up: VecDeque<Bytes>,
    down: VecDeque<Bytes>,
    agent_open: bool,
    gateway_open: bool,
    requests: VecDeque<Request>,
    timer: Option<MonoTime>,
}

#[derive(Clone, Copy)]
enum Step {
    Up(usize),
    Down(usize),
    Request(usize),
    AgentEnd(usize),
    GatewayEnd(usize),
    Read(usize),
}

struct Made {
    bytes: Bytes,
    usable: bool,
}

pub(crate) struct World {
    rules: Rules,
    random: Random,
    now: MonoTime,
    agents: Vec<Agent>,
    connections: Vec<Connection>,
    backbone: Backbone,
    ghosts: Vec<Request>,
    cards: Vec<Queue>,
    made: BTreeMap<(Epoch, Lane, Seq), Made>,
    /// No more faults: every answer comes, once.
    healed: bool,
}

fn site() -> Site {
    Site::new("plant").expect("it is a name")
}

fn agent_name() -> AgentName {
    AgentName::new("edge-1").expect("it is a name")
}

impl World {
    pub(crate) fn new(rules: Rules, seed: u64) -> World {
        let mut world = World {
            rules,
            random: Random(seed),
            now: MonoTime(Duration::from_secs(1)),
            agents: Vec::new(),
            connections: Vec::new(),
            backbone: Backbone::default(),
            ghosts: Vec::new(),
            cards: Vec::new(),
            made: BTreeMap::new(),
            healed: false,
        };
        let queue = Queue::empty(world.epoch());
        world.add_agent(queue);
        world
    }

    fn epoch(&mut self) -> Epoch {
        Epoch(self.random.next())
    }

    fn add_agent(&mut self, queue: Queue) {
        let config = AgentConfig { agent: agent_name(), site: site(), build: "test".to_owned() };
        self.agents.push(Agent {
            queue,
            link: AgentLink::new(config),
            connection: None,
            reads: VecDeque::new(),
            timer: None,
            watch: None,
            closed: None,
        });
    }

    fn wall(&self) -> UnixMicros {
        BEGIN.offset_by(self.now.micros())
    }

    fn limits(&self) -> LinkLimits {
        let default = LinkLimits::default();
        LinkLimits {
            record_bytes_max: RECORD_BYTES_MAX,
            window_bytes: if self.rules.window_bytes == 0 { default.window_bytes } else { self.rules.window_bytes },
            window_records: if self.rules.window_records == 0 {
                default.window_records
            } else {
                self.rules.window_records
            },
            ..default
        }
    }

    fn which(&self, second: bool) -> usize {
        usize::from(second && self.agents.len() > 1)
    }

    pub(crate) fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Append { second, events, count } => {
                let lane = if *events { Lane::Events } else { Lane::Telemetry };
                (0..*count).try_for_each(|_| self.append(self.which(*second), lane, None))
            }
            Op::AppendBad { second, huge } => {
                let bad = if *huge { vec![7; RECORD_BYTES_MAX + 1] } else { vec![0xff; 5] };
                self.append(self.which(*second), Lane::Telemetry, Some(bad.into()))
            }
            Op::Sync { second } => {
                let agent = self.which(*second);
                self.agents[agent].queue.sync();
                Ok(())
            }
            Op::Connect { second } => self.connect(self.which(*second)),
            Op::Run { choice, steps } => {
                for step in 0..*steps {
                    let steps = self.steps();
                    let Some(chosen) =
                        steps.get(usize::from(choice.wrapping_add(step.wrapping_mul(5))) % steps.len().max(1))
                    else {
                        break;
                    };
                    self.run(*chosen, choice.wrapping_add(step))?;
                    self.now = self.now + Duration::from_millis(1);
                }
                Ok(())
            }
            Op::Wait(millis) => self.wait(Duration::from_millis((*millis).into())),
            Op::Fault { second, fault } => self.fault(self.which(*second), fault),
        }
    }

    fn append(&mut self, agent: usize, lane: Lane, bad: Option<Bytes>) -> Result<(), TestCaseError> {
        let usable = bad.is_none();
        let at = UnixMicros(i64::try_from(self.made.len()).expect("scripts are short"));
        let presence = Presence::said(DeviceName::new("d").expect("it is a name"), true, at, false);
        let bytes = bad.unwrap_or_else(|| encode_record(&Record::Presence(presence)));
        let wall = self.wall();
        let queue = &mut self.agents[agent].queue;
        let seq = queue.append(lane, wall, bytes.clone());
        self.made.insert((queue.current(), lane, seq), Made { bytes, usable });
        if let Some(watch) = &mut self.agents[agent].watch {
            watch.appended(lane, seq);
        }
        self.feed_agent(agent, agent::Input::Appended { lane, seq })
    }

    fn connect(&mut self, agent: usize) -> Result<(), TestCaseError> {
        if self.agents[agent].connection.is_some() {
            return Ok(());
        }
        let config = EdgeConfig {
            agent: agent_name(),
            site: site(),
            session: SessionId(self.random.next()),
            retention: self.rules.retention_millis.map(Duration::from_millis),
            limits: self.limits(),
        };
        let mut actions = Vec::new();
        let now = Now { mono: self.now, wall: self.wall() };
        let session = EdgeSession::new(config, now, &mut actions);
        self.connections.push(Connection {
            agent,
            session,
            up: VecDeque::new(),
            down: VecDeque::new(),
            agent_open: true,
            gateway_open: true,
            requests: VecDeque::new(),
            timer: None,
        });
        let connection = self.connections.len() - 1;
        self.gateway_actions(connection, actions)?;
        let limits = self.limits();
        let it = &mut self.agents[agent];
        it.connection = Some(connection);
        it.closed = None;
        it.reads.clear();
        let holdings = it.queue.holdings();
        let mut watch = Watch::new(it.queue.current(), Lane::ALL.map(|lane| it.queue.last(lane)), limits);
        holdings.gaps.iter().for_each(|gap| watch.lost(gap));
        it.watch = Some(watch);
        let clock = Some(self.wall());
        self.feed_agent(agent, agent::Input::Connected { holdings, clock, journal: None })
    }

    /// All that can happen next.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, connection) in self.connections.iter().enumerate() {
            let (open, up, down) = (connection.gateway_open, connection.up.is_empty(), connection.down.is_empty());
            let possible = [
                (open && !up, Step::Up(at)),
                (connection.agent_open && !down, Step::Down(at)),
                (open && !connection.requests.is_empty(), Step::Request(at)),
                (connection.agent_open && !open && down, Step::AgentEnd(at)),
                (open && !connection.agent_open && up, Step::GatewayEnd(at)),
            ];
            steps.extend(possible.into_iter().filter_map(|(possible, step)| possible.then_some(step)));
        }
        let reading = self.agents.iter().enumerate().filter(|(_, agent)| !agent.reads.is_empty());
        steps.extend(reading.map(|(at, _)| Step::Read(at)));
        steps
    }

    fn run(&mut self, step: Step, choice: u8) -> Result<(), TestCaseError> {
        match step {
            Step::Up(at) => {
                let bytes = self.connections[at].up.pop_front().expect("the step was possible");
                let frame = decode_agent_frame(bytes).expect("the agent sends valid frames").expect("of this version");
                if let (AgentFrame::Publish(_), true) = (&frame, self.twice(choice)) {
                    self.feed_gateway(at, gateway::Input::Frame(frame.clone()))?;
                }
                self.feed_gateway(at, gateway::Input::Frame(frame))
            }
            Step::Down(at) => {
                let bytes = self.connections[at].down.pop_front().expect("the step was possible");
                let frame =
                    decode_gateway_frame(bytes).expect("the gateway sends valid frames").expect("of this version");
                let agent = self.connections[at].agent;
                self.backbone.check_told(&frame)?;
                if let GatewayFrame::Ack(ack) = &frame {
                    if self.twice(choice) {
                        self.feed_agent(agent, agent::Input::Frame(frame.clone()))?;
                    }
                    if let Some(watch) = &mut self.agents[agent].watch {
                        watch.acked(self.now, ack);
                    }
                }
                self.feed_agent(agent, agent::Input::Frame(frame))
            }
            Step::Request(at) => self.run_request(at, choice),
            Step::AgentEnd(at) => self.break_link(self.connections[at].agent),
            Step::GatewayEnd(at) => {
                self.crash_gateway(at);
                Ok(())
            }
            Step::Read(at) => self.answer_read(at, choice),
        }
    }

    /// Now and then a message comes twice.
    fn twice(&self, choice: u8) -> bool {
        choice % 8 == 5 && !self.healed
    }

    fn run_request(&mut self, at: usize, choice: u8) -> Result<(), TestCaseError> {
        let request = self.connections[at].requests.pop_front().expect("the step was possible");
        let unknown = |request: &Request| match request {
            Request::Open { .. } => gateway::Input::OpenUnknown,
            Request::Step(_) => gateway::Input::StepUnknown,
        };
        match choice % 8 {
            0 if !self.healed => {
                self.backbone.run(&request)?;
                return self.feed_gateway(at, unknown(&request));
            }
            1 if !self.healed => {
                self.ghosts.push(request.clone());
                return self.feed_gateway(at, unknown(&request));
            }
            2 if !self.healed => self.ghosts.push(request.clone()),
            _ => {}
        }
        let input = match self.backbone.run(&request)? {
            Answer::Opened(ledger) => gateway::Input::Opened(*ledger),
            Answer::Superseded => gateway::Input::Superseded,
            Answer::Done => gateway::Input::StepDone,
            Answer::Refused => gateway::Input::StepRefused,
        };
        self.feed_gateway(at, input)
    }

    fn answer_read(&mut self, at: usize, choice: u8) -> Result<(), TestCaseError> {
        let agent = &mut self.agents[at];
        let (request, epoch, lane, range, bytes_max) = agent.reads.pop_front().expect("the step was possible");
        // Now and then the time is not known yet, and nothing can be had.
        let nothing = choice % 16 == 3 && !self.healed;
        let (records, missing) =
            if nothing { Default::default() } else { agent.queue.read(epoch, lane, range, bytes_max) };
        if let Some(watch) = &mut agent.watch {
            if epoch == agent.queue.current() {
                watch.blocked[lane.index()] |= nothing;
            }
            watch.answered(epoch, lane, range);
        }
        self.feed_agent(at, agent::Input::Records { request, records, missing })
    }

    fn wait(&mut self, span: Duration) -> Result<(), TestCaseError> {
        self.now = self.now + span;
        for at in 0..self.agents.len() {
            if self.agents[at].timer.take_if(|timer| *timer <= self.now).is_some() {
                if let Some(watch) = &mut self.agents[at].watch {
                    watch.blocked = [false; 2];
                }
                self.feed_agent(at, agent::Input::TimerFired)?;
            }
        }
        for at in 0..self.connections.len() {
            if self.connections[at].timer.take_if(|timer| *timer <= self.now).is_some() {
                self.feed_gateway(at, gateway::Input::TimerFired)?;
            }
        }
        Ok(())
    }

    fn fault(&mut self, at: usize, fault: &Fault) -> Result<(), TestCaseError> {
        match fault {
            Fault::BreakLink => return self.break_link(at),
            Fault::CrashGateway => {
                if let Some(connection) = self.agents[at].connection {
                    self.crash_gateway(connection);
                }
            }
            Fault::KillAgent => return self.restart(at, None, Before::Kill),
            Fault::LosePower => return self.restart(at, None, Before::PowerLoss),
            Fault::RollBackStore(choice) => self.backbone.roll_back(*choice),
            Fault::RunGhost(choice) => {
                if !self.ghosts.is_empty() {
                    let ghost = self.ghosts.swap_remove(usize::from(*choice) % self.ghosts.len());
                    self.backbone.run(&ghost)?;
                }
            }
            Fault::Evict => {
                self.agents[at].queue.evict();
                return self.queue_changed(at);
            }
            Fault::Corrupt(choice) => {
                self.agents[at].queue.corrupt(*choice);
                return self.queue_changed(at);
            }
            Fault::SaveCard => self.cards.push(self.agents[at].queue.clone()),
            Fault::PutBackCard(choice) => {
                if let Some(card) = self.cards.get(usize::from(*choice) % self.cards.len().max(1)).cloned() {
                    return self.restart(at, Some(card), Before::PowerLoss);
                }
            }
            Fault::CloneCard => {
                if self.agents.len() < 2 {
                    self.add_agent(self.agents[0].queue.clone());
                    return self.restart(1, None, Before::PowerLoss);
                }
            }
            Fault::TakeOver => return self.take_over(at),
            Fault::WipeCard => {
                let empty = Queue::empty(self.epoch());
                return self.restart(at, Some(empty), Before::Kill);
            }
        }
        Ok(())
    }

    /// Between two connections; the link is the same before and after.
    fn take_over(&mut self, at: usize) -> Result<(), TestCaseError> {
        self.break_link(at)?;
        let epoch = self.epoch();
        self.agents[at].queue.start(epoch, Before::Kill);
        Ok(())
    }

    fn queue_changed(&mut self, at: usize) -> Result<(), TestCaseError> {
        let holdings = self.agents[at].queue.holdings();
        if let Some(watch) = &mut self.agents[at].watch {
            watch.blocked = [false; 2];
            holdings.gaps.iter().for_each(|gap| watch.lost(gap));
        }
        self.feed_agent(at, agent::Input::QueueChanged { holdings })
    }

    fn break_link(&mut self, at: usize) -> Result<(), TestCaseError> {
        if let Some(connection) = self.agents[at].connection.take() {
            self.connections[connection].agent_open = false;
            self.agents[at].watch = None;
            self.feed_agent(at, agent::Input::LinkLost)?;
        }
        Ok(())
    }

    fn crash_gateway(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        connection.gateway_open = false;
        self.ghosts.extend(connection.requests.drain(..));
    }

    fn restart(&mut self, at: usize, card: Option<Queue>, before: Before) -> Result<(), TestCaseError> {
        self.break_link(at)?;
        let epoch = self.epoch();
        let config = AgentConfig { agent: agent_name(), site: site(), build: "test".to_owned() };
        let agent = &mut self.agents[at];
        agent.queue = card.unwrap_or_else(|| agent.queue.clone());
        agent.queue.start(epoch, before);
        agent.link = AgentLink::new(config);
        agent.reads.clear();
        agent.timer = None;
        Ok(())
    }

    fn feed_agent(&mut self, at: usize, input: agent::Input) -> Result<(), TestCaseError> {
        let mut actions = Vec::new();
        self.agents[at].link.handle(self.now, input, &mut actions);
        for action in actions {
            let now = self.now;
            let agent = &mut self.agents[at];
            if let Some(watch) = &mut agent.watch {
                watch.action(now, &action)?;
            }
            match action {
                agent::Action::Send(frame) => {
                    let connection = agent.connection.expect("it sends only while it is connected");
                    self.connections[connection].up.push_back(encode_agent_frame(&frame));
                }
                agent::Action::Read { request, epoch, lane, range, bytes_max } => {
                    agent.reads.push_back((request, epoch, lane, range, bytes_max));
                }
                agent::Action::Settled { epoch, lane, set } => agent.queue.settled(epoch, lane, set),
                agent::Action::DeadLetter { epoch, lane, seq, .. } => {
                    agent.queue.dead_letters.insert((epoch, lane, seq));
                }
                agent::Action::Gap(gap) => agent.queue.remember_gap(gap),
                agent::Action::ArmTimer(timer) => agent.timer = Some(timer),
                agent::Action::Close { code, why } => {
                    prop_assert!(code != CloseCode::BadFrame, "the agent finds a fault: {}", why);
                    agent.closed = Some(code);
                    self.break_link(at)?;
                }
                agent::Action::EpochClosed(_)
                | agent::Action::ServerTime { .. }
                | agent::Action::Executor(_)
                | agent::Action::GoAway { .. } => {}
            }
        }
        Ok(())
    }

    fn feed_gateway(&mut self, at: usize, input: gateway::Input) -> Result<(), TestCaseError> {
        let mut actions = Vec::new();
        let now = Now { mono: self.now, wall: self.wall() };
        self.connections[at].session.handle(now, input, &mut actions);
        self.gateway_actions(at, actions)
    }

    fn gateway_actions(&mut self, at: usize, actions: Vec<gateway::Action>) -> Result<(), TestCaseError> {
        for action in actions {
            let connection = &mut self.connections[at];
            match action {
                gateway::Action::OpenSession { session, epochs } => {
                    connection.requests.push_back(Request::Open { session, epochs });
                }
                gateway::Action::Step(step) => connection.requests.push_back(Request::Step(step)),
                gateway::Action::Send(frame) => connection.down.push_back(encode_gateway_frame(&frame)),
                gateway::Action::ArmTimer(timer) => connection.timer = Some(timer),
                gateway::Action::Close { code, why } => {
                    prop_assert!(code != CloseCode::BadFrame, "the gateway finds a fault: {}", why);
                    let agent = connection.agent;
                    if self.agents[agent].connection == Some(at) {
                        self.agents[agent].closed = Some(code);
                    }
                    self.crash_gateway(at);
                }
                // The agents have no journal, and no courier is sent.
                gateway::Action::Alarm(_) | gateway::Action::OpenJournal(_) => {}
            }
        }
        Ok(())
    }
}
