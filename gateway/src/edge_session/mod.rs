//! Edge sessions: one task for each connection of an agent.
//!
//! The machine in `proto` decides everything; this shell moves its frames, puts its questions to the
//! backbone (one at a time, while frames go on being read) and rings its timer. When the backbone can't be
//! reached the machine asks again: the connection stays, and nothing is acknowledged. Commands have a courier of
//! their own beside it, with a second question, at the desk.

mod alarm;
mod calls;
mod errand;
mod session;

pub(crate) use alarm::Alarms;
pub(crate) use session::{Visitor, run};
