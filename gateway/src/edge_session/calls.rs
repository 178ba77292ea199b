//! The one question that a session has at the backbone at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use lockgate_proto::ids::{AgentId, SessionId};
use lockgate_proto::link::gateway::{Input, Step};
use lockgate_proto::seq::Epoch;
use tracing::warn;

use crate::backbone::{Backbone, BackboneError, Opened, Stepped};
use crate::metrics::{Counter, Timing};

/// An answer that is under way, as what the machine gets to hear.
pub(super) type Call = Pin<Box<dyn Future<Output = Input> + Send>>;

/// Asks for the right to write.
pub(super) fn open_session(
    backbone: Arc<dyn Backbone>,
    agent: AgentId,
    session: SessionId,
    epochs: Vec<Epoch>,
) -> Call {
    Box::pin(async move {
        match backbone.open_session(&agent, session, &epochs).await {
            Ok(Opened::Granted(ledger)) => Input::Opened(*ledger),
            Ok(Opened::Superseded) => Input::Superseded,
            Err(error) => {
                failed(&error);
                Input::OpenUnknown
            }
        }
    })
}

/// Writes one step.
pub(super) fn step(backbone: Arc<dyn Backbone>, agent: AgentId, step: Step) -> Call {
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
                failed(&error);
                Input::StepUnknown
            }
        }
    })
}

fn failed(error: &BackboneError) {
    Counter::BackboneFailures.tick();
    warn!(%error, "The backbone does not answer; nothing is acknowledged until it does.");
}
