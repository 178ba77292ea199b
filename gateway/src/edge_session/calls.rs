//! The questions of a session: one at the backbone at a time, and one at the desk, for commands.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use lockgate_proto::command::{Ask, CourierInput};
use lockgate_proto::ids::{AgentId, SessionId};
use lockgate_proto::link::gateway::{Input, Step};
use lockgate_proto::seq::Epoch;
use lockgate_runtime::clock::Clock;
use tracing::warn;

use crate::backbone::{Backbone, BackboneError, Opened, Stepped};
use crate::commands::Desk;
use crate::lines::{Lines, left_out};
use crate::metrics::{Counter, Timing};

/// An answer that is under way, as what the machine gets to hear.
pub(super) type Call = Pin<Box<dyn Future<Output = Input> + Send>>;

/// Asks for the right to write.
pub(super) fn open_session(
    backbone: Arc<dyn Backbone>,
    unanswered: Unanswered,
    agent: AgentId,
    session: SessionId,
    epochs: Vec<Epoch>,
) -> Call {
    Box::pin(async move {
        match backbone.open_session(&agent, session, &epochs).await {
            Ok(Opened::Granted(ledger)) => Input::Opened(*ledger),
            Ok(Opened::Superseded) => Input::Superseded,
            Err(error) => {
                unanswered.tell(&error);
                Input::OpenUnknown
            }
        }
    })
}

/// Writes one step.
pub(super) fn step(backbone: Arc<dyn Backbone>, unanswered: Unanswered, agent: AgentId, step: Step) -> Call {
    let begun = Instant::now();
    Box::pin(async move {
        match backbone.step(&agent, &step).await {
            Ok(Stepped::Done) => {
                Counter::StepsDone.tick();
                Counter::StepsEntries.add(step.entries.len() as u64);
                Timing::Step.record(begun.elapsed());
                Input::StepDone
            }
            Ok(Stepped::Refused) => {
                Counter::StepsRefused.tick();
                Input::StepRefused
            }
            Err(error) => {
                unanswered.tell(&error);
                Input::StepUnknown
            }
        }
    })
}

/// The same, as what the courier gets to hear.
pub(super) type Errands = Pin<Box<dyn Future<Output = CourierInput> + Send>>;

/// Asks for the courier.
pub(super) fn ask(desk: Desk, unanswered: Unanswered, agent: AgentId, ask: Ask) -> Errands {
    Box::pin(async move {
        desk.ask(&agent, ask).await.unwrap_or_else(|error| {
            unanswered.tell(&error);
            CourierInput::AnswerUnknown
        })
    })
}

/// Counts and logs that the backbone did not answer.
pub(super) struct Unanswered {
    pub(super) lines: Arc<Lines>,
    pub(super) clock: Clock,
}

impl Unanswered {
    pub(super) fn tell(&self, error: &BackboneError) {
        Counter::BackboneFailures.tick();
        if let Some(lines) = self.lines.unanswered.pass(&(), self.clock.now()) {
            let left_out = left_out(lines);
            warn!(%error, left_out, "The backbone does not answer; nothing is acknowledged until it does.");
        }
    }
}
