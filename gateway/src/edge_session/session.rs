//! One agent's session, from its first frame to its last.

use std::future::poll_fn;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::attendance::Attendee;
use lockgate_proto::command::{CourierAction, CourierInput};
use lockgate_proto::convert::{decode_agent_frame, encode_gateway_frame};
use lockgate_proto::ids::{AgentId, SessionId};
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::link::frame::{AgentFrame, GatewayFrame, LinkLimits, Reject};
use lockgate_proto::link::gateway::{Action, Alarm, EdgeConfig, EdgeSession, Input as MachineInput, Now};
use lockgate_runtime::LazyTimer;
use lockgate_token::Grant;
use tokio::time::Instant;
use tokio_util::sync::WaitForCancellationFuture;
use tracing::{Instrument, info, info_span, warn};

use crate::attendance::Place;
use crate::config::Service;
use crate::context::Context;
use crate::drain::{self, Farewell};
use crate::edge_session::alarm;
use crate::edge_session::calls::{self, Call, Unanswered};
use crate::edge_session::errand::{Errand, News};
use crate::lines::left_out;
use crate::metrics::{Counter, Gauge, SessionKind};
use crate::peer::{End, Peer};

/// Timers can't look farther; an agent that stays connected for so long connects again.
const EXPIRY_FARTHEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Who was let in at the door.
pub(crate) struct Visitor {
    pub(crate) agent: AgentId,
    pub(crate) grant: Grant,
}

/// Runs an agent's session on a fresh connection until either end ends it.
pub(crate) async fn run(mut peer: Peer, visitor: Visitor, context: Context) {
    let session = SessionId(lockgate_runtime::random());
    let span = info_span!("edge_session", %session, agent = %visitor.agent);
    let end = serve(&mut peer, session, visitor, context).instrument(span).await;
    Counter::SessionsClosed(SessionKind::Edge, end.word()).tick();
    // Boxed, as it comes but once.
    Box::pin(peer.close(&end)).await;
}

async fn serve(peer: &mut Peer, session: SessionId, visitor: Visitor, context: Context) -> End {
    let _open = Gauge::SessionsOpen(SessionKind::Edge).hold();
    Counter::SessionsOpened(SessionKind::Edge).tick();
    let told = context.lines.agents.pass(&visitor.agent, context.clock.now());
    if let Some(lines) = told {
        info!(left_out = left_out(lines), "Agent connected.");
    }
    let edge = &context.config.edge;
    let config = EdgeConfig {
        agent: visitor.agent.agent.clone(),
        site: visitor.agent.room.site.clone(),
        session,
        retention: Some(context.config.retention.age),
        limits: LinkLimits {
            window_bytes: edge.window_bytes,
            window_records: edge.window_records,
            ping_interval: edge.ping_interval,
            ..LinkLimits::default()
        },
    };
    let left = visitor.grant.expires_at.0.saturating_sub(context.clock.wall().0);
    let now = Instant::now();
    let mut actions = Vec::new();
    let machine = EdgeSession::new(config, clocks(&context), &mut actions);
    let mut shell = Shell {
        peer,
        machine,
        agent: visitor.agent,
        call: None,
        timer: None,
        clock: LazyTimer::new(now + context.config.edge.ping_interval),
        expires: now + Duration::from_micros(u64::try_from(left).unwrap_or(0)).min(EXPIRY_FARTHEST),
        drained_at: None,
        place: None,
        errand: None,
        errands: Vec::new(),
        context,
    };
    let end = match shell.run(actions).await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    if told.is_some() {
        info!(%end, "Edge session ended.");
    }
    end
}

/// Agents are told the backbone's time: deadlines go by it, and it is the same at every gateway.
fn clocks(context: &Context) -> Now {
    Now { mono: context.clock.now(), wall: context.desk.now() }
}

struct Shell<'p> {
    peer: &'p mut Peer,
    context: Context,
    machine: EdgeSession,
    agent: AgentId,
    /// INVARIANT: at most one question at the backbone.
    call: Option<Call>,
    timer: Option<Instant>,
    expires: Instant,
    /// For whatever comes first of all moments.
    clock: LazyTimer,
    /// When we close by ourselves, after the agent was told to go.
    drained_at: Option<Instant>,
    /// Counts the agent as being in its room, once it was welcomed.
    place: Option<Place>,
    /// Of an agent that takes commands. Boxed: many take none.
    errand: Option<Box<Errand>>,
    /// What the courier wants done.
    errands: Vec<CourierAction>,
}

/// What the loop gathers.
enum Input {
    Drain,
    Drained,
    Expired,
    Timer,
    Answer(MachineInput),
    Errand(News),
    ErrandDue,
    Frame(Bytes),
}

impl Shell<'_> {
    async fn run(&mut self, mut actions: Vec<Action>) -> Result<std::convert::Infallible, End> {
        let drain = self.context.drain.clone();
        let mut drained = pin!(drain.cancelled());
        loop {
            while !actions.is_empty() || !self.errands.is_empty() {
                for action in actions.drain(..) {
                    self.perform(action).await?;
                }
                for errand in mem::take(&mut self.errands) {
                    self.run_errand(errand, &mut actions).await?;
                }
            }
            self.peer.flush().await?;
            let input = poll_fn(|context| self.poll_input(drained.as_mut(), context)).await?;
            self.handle(input, &mut actions)?;
        }
    }

    /// The next thing to do. What is waited for stays where it is from one call to the next.
    fn poll_input(
        &mut self,
        drained: Pin<&mut WaitForCancellationFuture<'_>>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Result<Input, End>> {
        if self.drained_at.is_none() && drained.poll(context).is_ready() {
            return Poll::Ready(Ok(Input::Drain));
        }
        if let Some(call) = &mut self.call
            && let Poll::Ready(answer) = call.as_mut().poll(context)
        {
            return Poll::Ready(Ok(Input::Answer(answer)));
        }
        if let Some(errand) = &mut self.errand
            && let Poll::Ready(news) = errand.poll(self.drained_at.is_some(), context)
        {
            return Poll::Ready(Ok(Input::Errand(news)));
        }
        let (what, at) = self.next_moment();
        if self.clock.poll(at, context).is_ready() {
            return Poll::Ready(Ok(what));
        }
        self.peer.poll_hear(context).map(|frame| frame.map(Input::Frame))
    }

    fn next_moment(&self) -> (Input, Instant) {
        let timer = self.timer.map(|at| (Input::Timer, at));
        let drained = self.drained_at.map(|at| (Input::Drained, at));
        let errand = self.errand.as_ref().and_then(|errand| errand.next_moment());
        let errand = errand.map(|at| (Input::ErrandDue, at));
        let next = [timer, drained, errand].into_iter().flatten().min_by_key(|(_, at)| *at);
        match next {
            Some((what, at)) if at < self.expires => (what, at),
            Some(_) | None => (Input::Expired, self.expires),
        }
    }

    fn handle(&mut self, input: Input, actions: &mut Vec<Action>) -> Result<(), End> {
        let input = match input {
            Input::Drain => {
                let server = &self.context.config.server;
                self.drained_at = Some(Instant::now() + drain::patience(server));
                let known = self.context.neighbours.known();
                let Farewell { reconnect_after, gateways } =
                    Farewell::new(server, &known, Service::Edge, lockgate_runtime::random());
                MachineInput::DrainRequested { reconnect_after, gateways }
            }
            Input::Drained => return Err(End::close(CloseCode::ShuttingDown, "the gateway is stopping")),
            Input::Expired => return Err(End::close(CloseCode::Unauthorized, "the token has expired")),
            Input::Timer => {
                self.timer = None;
                MachineInput::TimerFired
            }
            Input::Answer(answer) => {
                self.call = None;
                if let (MachineInput::StepDone, Some(errand)) = (&answer, &mut self.errand) {
                    errand.stepped();
                }
                answer
            }
            Input::Errand(news) => {
                self.errand_news(news);
                return Ok(());
            }
            Input::ErrandDue => {
                if let Some(due) = self.errand.as_mut().map(|errand| errand.due()) {
                    self.errand_news(due);
                }
                return Ok(());
            }
            Input::Frame(frame) => match read(frame) {
                Some(MachineInput::Frame(AgentFrame::CommandUpdates(updates))) if self.errand.is_some() => {
                    self.errand_news(News::Courier(CourierInput::FromAgent(updates)));
                    return Ok(());
                }
                Some(input) => input,
                None => return Ok(()),
            },
        };
        self.machine.handle(clocks(&self.context), input, actions);
        Ok(())
    }

    async fn perform(&mut self, action: Action) -> Result<(), End> {
        match action {
            Action::OpenSession { session, epochs } => {
                let backbone = Arc::clone(&self.context.backbone);
                self.call = Some(calls::open_session(backbone, self.unanswered(), self.agent.clone(), session, epochs));
            }
            Action::OpenJournal(journal) => {
                let errand =
                    Errand::new(&self.context, &self.agent, self.machine.session(), journal, &mut self.errands);
                self.errand = Some(Box::new(errand));
            }
            Action::Step(step) => {
                if let Some(errand) = &mut self.errand {
                    errand.stepping(&step);
                }
                self.call =
                    Some(calls::step(Arc::clone(&self.context.backbone), self.unanswered(), self.agent.clone(), step));
            }
            Action::Send(frame) => {
                if matches!(frame, GatewayFrame::Welcome(_)) && self.context.config.presence.agents {
                    let attendee = Attendee::Agent(self.agent.agent.clone());
                    self.place = Some(self.context.attendance.enter(self.agent.room.clone(), attendee));
                }
                self.peer.feed(encode_gateway_frame(&frame)).await?;
            }
            Action::Close { code, why } => return Err(End::close(code, why)),
            Action::ArmTimer(at) => self.timer = Some(self.context.clock.tokio_instant(at)),
            Action::Alarm(Alarm::AgentTwice) => alarm::agent_twice(&self.context, &self.agent).await,
            Action::Alarm(Alarm::Rejected { records, first }) => self.rejected(records, &first),
        }
        Ok(())
    }

    fn errand_news(&mut self, news: News) {
        let unanswered = self.unanswered();
        let Some(errand) = &mut self.errand else { return };
        match news {
            News::Courier(input) => errand.handle(&self.context, input, &mut self.errands),
            News::Claimed(claimed) => errand.claimed(claimed, &unanswered),
            News::ClaimDue => errand.begin_claim(),
        }
    }

    /// Does what the courier wants done.
    async fn run_errand(&mut self, action: CourierAction, actions: &mut Vec<Action>) -> Result<(), End> {
        let unanswered = self.unanswered();
        let Some(errand) = &mut self.errand else { return Ok(()) };
        match action {
            CourierAction::Ask(ask) => errand.ask(unanswered, ask),
            CourierAction::Welcome(heard) => {
                self.machine.handle(clocks(&self.context), MachineInput::JournalHeard(heard), actions);
            }
            CourierAction::Dispatch(dispatch) => {
                Counter::CommandsDispatched.add(dispatch.orders.len() as u64);
                self.peer.feed(encode_gateway_frame(&GatewayFrame::Dispatch(dispatch))).await?;
            }
            CourierAction::Confirm(confirm) => {
                self.peer.feed(encode_gateway_frame(&GatewayFrame::CommandConfirm(confirm))).await?;
            }
            CourierAction::Close { why } => return Err(End::close(CloseCode::SessionLost, why)),
            CourierAction::ArmTimer(at) => errand.arm(self.context.clock.tokio_instant(at)),
        }
        Ok(())
    }

    /// Tells of a question that got no answer.
    fn unanswered(&self) -> Unanswered {
        Unanswered { lines: Arc::clone(&self.context.lines), clock: self.context.clock.clone() }
    }

    fn rejected(&self, records: u64, first: &Reject) {
        Counter::EdgeRecordsRejected.add(records);
        let Some(lines) = self.context.lines.rejected.pass(&self.agent, self.context.clock.now()) else { return };
        let Reject { epoch, lane, seq, reason } = first;
        warn!(records, %epoch, %lane, %seq, reason, left_out = left_out(lines), "Records can't be used.");
    }
}

/// What the machine gets to hear of a frame; `None` for one of a later version, which is skipped.
fn read(frame: Bytes) -> Option<MachineInput> {
    Counter::EdgeBytes.add(frame.len() as u64);
    match decode_agent_frame(frame) {
        Ok(frame) => {
            if matches!(frame, Some(AgentFrame::Publish(_))) {
                Counter::EdgePublishes.tick();
            }
            frame.map(MachineInput::Frame)
        }
        Err(error) => {
            Counter::FramesBad(SessionKind::Edge).tick();
            Some(MachineInput::BadFrame(error.to_string()))
        }
    }
}
