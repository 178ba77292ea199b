//! The words and the protocol of Lockgate, without I/O.
//!
//! Types first (ids, numbers, readings, records), then the wire (`wire`, `convert`), then the sans-IO
//! machines that decide everything both ends of a link must agree on: `(state, input, now) → actions`.
//! Nothing here knows a clock, a random source, a socket, a file or a log; see docs/architecture.md,
//! "Pure core".

pub mod entry;
pub mod gap;
pub mod ids;
pub mod limits;
pub mod loss;
pub mod position;
pub mod ranges;
pub mod reading;
pub mod record;
pub mod seq;
pub mod time;

pub mod convert;
pub mod wire;

pub mod attendance;
pub mod backoff;
pub mod clock;
pub mod command;
pub mod description;
pub mod gateways;
pub mod ledger;
pub mod link;
pub mod resume;
