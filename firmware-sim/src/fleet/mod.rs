//! Thousands of agents and readers in one process: load for gateways, and an account of every record.
//!
//! Agents speak the real edge link: the machine of `proto` over the link of `runtime`, with a queue in memory.
//! Readers subscribe rooms, reconnect and resume as the client library does, over a connection of their own
//! (`socket`), so that they cost less than what they measure.
//!
//! Each record carries a mark: run, agent, number, and when it was published. From the marks each reader keeps an
//! account of its own, which does not depend on what the gateway says of its entries; from the entries' offsets and
//! linked stamps it sees holes at once. At the end every number that an agent gave must have come to every reader of
//! its room exactly once, live records and backlog each in order.
//!
//! Nothing is published before everybody is connected. All times are of one clock of this process.

mod agent;
mod args;
mod bare;
mod delivery_logic;
mod histogram_logic;
mod mark_logic;
mod plan_logic;
mod processes;
mod publisher;
mod queue_logic;
mod reader;
mod report;
mod run;
mod seats;
mod socket;
mod tally_logic;
mod timeline_logic;
mod turn_logic;
mod world;

pub use args::FleetArgs;
pub(crate) use histogram_logic::{Histogram, Quantiles};
pub(crate) use mark_logic::number_of;
pub use run::Run;
