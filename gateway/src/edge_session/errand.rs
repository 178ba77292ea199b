//! The errands of one connection in commands: its courier, the courier's one question at the desk, and the devices whose
//! commands are still to be fetched into the agent's book.

use std::collections::HashSet;
use std::mem;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use lockgate_proto::command::{Ask, Courier, CourierAction, CourierInput, JournalMark};
use lockgate_proto::ids::{AgentId, DeviceName, SessionId};
use lockgate_proto::link::gateway::Step;
use tokio::time::Instant;

use super::calls::{self, Errands, Unanswered};
use crate::backbone::BackboneError;
use crate::commands::{Desk, Nudges};
use crate::context::Context;

/// LIMIT: devices of which a session remembers that their commands were fetched; beyond, they are fetched once more.
const DEVICES_MAX: usize = 4_096;

/// Commands that could not be fetched are asked for again after so long.
const CLAIM_RETRY: Duration = Duration::from_secs(1);

type Claim = Pin<Box<dyn Future<Output = Result<(), BackboneError>> + Send>>;

/// What one agent's session does about commands, from its Welcome on.
pub(super) struct Errand {
    agent: AgentId,
    desk: Desk,
    courier: Courier,
    /// INVARIANT: at most one question at the desk.
    call: Option<Errands>,
    nudges: Nudges,
    timer: Option<Instant>,
    /// Devices whose commands were fetched in this session.
    known: HashSet<DeviceName>,
    /// Those of the step that is under way.
    stepping: HashSet<DeviceName>,
    /// Those that were told of, and whose commands are to be fetched.
    wanted: HashSet<DeviceName>,
    /// At the beginning also for devices that are known to be the agent's.
    claim_at: Option<Instant>,
    claim: Option<(Claim, HashSet<DeviceName>)>,
}

/// What has come.
pub(super) enum News {
    /// For the courier.
    Courier(CourierInput),
    /// The commands of some devices were fetched, or could not be.
    Claimed(Result<(), BackboneError>),
    /// It is time to fetch some.
    ClaimDue,
}

impl Errand {
    /// Sends a courier for an agent that has said Hello, and whose session may write.
    pub(super) fn new(
        context: &Context,
        agent: &AgentId,
        session: SessionId,
        journal: JournalMark,
        actions: &mut Vec<CourierAction>,
    ) -> Errand {
        Errand {
            agent: agent.clone(),
            desk: context.desk.clone(),
            courier: Courier::new(session, journal, actions),
            call: None,
            nudges: context.desk.nudges(agent),
            timer: None,
            known: HashSet::new(),
            stepping: HashSet::new(),
            wanted: HashSet::new(),
            claim_at: Some(Instant::now()),
            claim: None,
        }
    }

    pub(super) fn handle(&mut self, context: &Context, input: CourierInput, actions: &mut Vec<CourierAction>) {
        self.courier.handle(context.clock.now(), input, actions);
    }

    /// Puts the courier's question.
    pub(super) fn ask(&mut self, unanswered: Unanswered, ask: Ask) {
        self.call = Some(calls::ask(self.desk.clone(), unanswered, self.agent.clone(), ask));
    }

    pub(super) fn arm(&mut self, at: Instant) {
        self.timer = Some(at);
    }

    /// The next moment at which something is due.
    pub(super) fn next_moment(&self) -> Option<Instant> {
        let claim = self.claim_at.filter(|_| self.claim.is_none());
        self.timer.into_iter().chain(claim).min()
    }

    /// What is due at that moment.
    pub(super) fn due(&mut self) -> News {
        let now = Instant::now();
        if self.timer.take_if(|at| *at <= now).is_some() {
            return News::Courier(CourierInput::TimerFired);
        }
        News::ClaimDue
    }

    /// What has come. `draining`: no new command is fetched, for the agent is about to leave.
    pub(super) fn poll(&mut self, draining: bool, context: &mut TaskContext<'_>) -> Poll<News> {
        if let Some(call) = &mut self.call
            && let Poll::Ready(answer) = call.as_mut().poll(context)
        {
            self.call = None;
            return Poll::Ready(News::Courier(answer));
        }
        if let Some((claim, _)) = &mut self.claim
            && let Poll::Ready(claimed) = claim.as_mut().poll(context)
        {
            return Poll::Ready(News::Claimed(claimed));
        }
        if !draining && self.nudges.poll(context).is_ready() {
            return Poll::Ready(News::Courier(CourierInput::Nudged));
        }
        Poll::Pending
    }

    /// A step is on its way; remembers which devices it tells of for the first time.
    pub(super) fn stepping(&mut self, step: &Step) {
        let devices = step.entries.iter().filter_map(|entry| entry.device.as_ref());
        self.stepping = devices.filter(|device| !self.known.contains(*device)).cloned().collect();
    }

    /// The step is stored: commands that come from now on find their way by themselves.
    pub(super) fn stepped(&mut self) {
        if self.stepping.is_empty() {
            return;
        }
        self.wanted.extend(mem::take(&mut self.stepping));
        self.claim_at.get_or_insert_with(Instant::now);
    }

    /// Fetches what waits for devices that were told of since the last time.
    pub(super) fn begin_claim(&mut self) {
        if self.claim.is_some() {
            return;
        }
        self.claim_at = None;
        let told = mem::take(&mut self.wanted);
        let (desk, agent, devices) = (self.desk.clone(), self.agent.clone(), told.clone());
        self.claim = Some((Box::pin(async move { desk.claim(&agent, &devices).await }), told));
    }

    /// Those that could not be fetched are fetched later.
    pub(super) fn claimed(&mut self, claimed: Result<(), BackboneError>, unanswered: &Unanswered) {
        let Some((_, told)) = self.claim.take() else { return };
        match claimed {
            Ok(()) if self.known.len() + told.len() > DEVICES_MAX => self.known = told,
            Ok(()) => self.known.extend(told),
            Err(error) => {
                unanswered.tell(&error);
                self.wanted.extend(told);
                self.claim_at = Some(Instant::now() + CLAIM_RETRY);
            }
        }
    }
}
