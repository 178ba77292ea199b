//! Commands at this gateway: people's sessions order, agents' sessions hand over, and all of it goes over one desk.
//!
//! Every transition is decided by the pure [`Book`](lockgate_proto::command::Book), of what the backbone says, and
//! written only if the book is still as it was read. At one gateway a book is worked at by one at a time, who takes
//! along what the others brought meanwhile: so a burst of commands shares a write, and only gateways compete.

mod book_logic;
mod claim;
mod desk;
mod hub;
mod line;
mod sweep;
mod time;

#[cfg(test)]
mod tests;

pub(crate) use desk::{AcceptFailed, Desk};
pub(crate) use hub::{Follow, Followed, Nudges};
pub(crate) use sweep::SweepTask;
