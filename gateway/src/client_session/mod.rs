//! Client sessions: one task for each connection of a person's program.
//!
//! `request` reads what is asked, `reply` writes what is told, `connect` lets in, `session` is the loop,
//! `answer` and `subscribe` do what was asked. A session holds no entries: what its client has not taken
//! waits in the room's ring and in the log, and `cursor_logic` decides from which of the two it goes on.

mod answer;
mod connect;
mod cursor_logic;
mod filter;
mod reply;
mod request;
mod session;
mod subscribe;
mod subscriptions;

pub(crate) use session::run;
