//! Rooms: one for each site that somebody here listens to.
//!
//! A room takes the backbone's feed, makes sure that it is whole and in order (filling holes from the log),
//! frames each batch once for each encoding that somebody wants, and hands the same bytes to every subscriber. It never waits for one: who is too
//! slow finds in the ring that it was overrun, and goes on from what the room keeps at hand, or from the log.

mod batch;
mod frame;
mod json;
mod link_logic;
mod pace;
mod recent;
mod registry;
mod task;

#[cfg(test)]
pub(crate) mod tests;

pub use batch::{Batch, Selected};
pub use frame::frame_delivery;
pub(crate) use json::in_words;
pub use link_logic::{Fit, fit};
pub use recent::{Following, Recent};
pub use registry::{Joined, Registry, RoomsGone, RoomsHandle};
pub use task::RoomEvent;
