//! Client sessions: one task for each connection of a person's program.
//!
//! `request` checks what is asked, `reply` puts into words what is told (how either is written is
//! `crate::encoding`'s business), `connect` lets in, `session` is the loop, `answer` and `subscribe` do what was
//! asked. A session holds no entries: what its client has not taken waits in the room's ring and in the log, and
//! `cursor_logic` decides from which of the two it goes on. `orders` is what it asks about commands, `following` what
//! it waits for, and `follow_logic` decides what of that it is told.

pub(crate) mod answer;
mod conflate_logic;
mod connect;
mod cursor_logic;
pub(crate) mod filter;
mod follow_logic;
mod following;
mod health;
pub(crate) mod order_logic;
pub(crate) mod orders;
mod reply;
pub(crate) mod request;
mod session;
mod subscribe;
mod subscriptions;

#[cfg(test)]
mod samples;

pub(crate) use session::run;
