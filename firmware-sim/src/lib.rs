//! Field devices that do not exist, honest enough to test a whole system with.
//!
//! Pumps, thermostats and smart meters speak on pseudo-terminals, room sensors over MQTT; captures of real devices
//! are replayed on either. All formats are written here anew and share no code with the program that reads them.
//! The same seed gives the same bytes.
//!
//! [`fleet`] is another thing: not devices but agents and readers by the thousand, as load for gateways; [`orders`] times
//! commands. [`mod@reference`] is what a gateway's figures are held against: the same fan-out without any promise.
//!
//! # Counting losses
//!
//! Each sample of a device carries a number `n`, from 1, by one, never twice in a run, whatever goes wrong. The
//! [journal] tells of each sample when it is taken, and later what became of it. [`account::Account`] holds the
//! journal against a store and settles **produced = stored + unheard + lost**.
//!
//! A sample with a fault of the line in it (`spoiled` in the journal: a flipped bit, a broken frame) is not counted
//! as produced; it must not be in the store at all.
//!
//! ## What is *unheard*
//!
//! A serial device speaks whether anybody listens or not, and nobody confirms. So the simulator watches the port:
//!
//! * A **reader** is whoever opens the port, from [`hearing::OPENING`] after the open (before that a driver may still
//!   be setting the port up, and the device's bytes are not put on the line at all) until a close. A killed process
//!   closes what it had open. Opens and closes are seen in order, however late we look.
//! * A reader **took** a sample when all its bytes were out for at least [`hearing::TRANSIT`] and the count of bytes
//!   that the reader has not read yet says that none of this sample is among them.
//! * When a reader leaves, what it left unread is thrown away, as a UART does when its port is closed. Nothing that
//!   was said to one reader is ever delivered to the next.
//!
//! From this comes one verdict for each sample:
//!
//! | verdict | when | in the store? |
//! |---|---|---|
//! | `unheard` | no reader when it was said, or the reader left before it had taken all of it | it can't be |
//! | `cut` | the reader left, and had taken it less than the grace time before (or may have: the bytes were on their way) | may be |
//! | `heard` | the reader took it and had the port open without a break for the grace time (default 1 s) after that | it must be |
//!
//! The account calls a sample *unheard* if it is not in the store **and** its verdict is `unheard` or `cut`. `cut` is
//! the window between an agent's `read()` and the write to its queue: the program died (or closed the port) in it,
//! as the journal proves. There are at most (grace + transit) / interval, rounded up, of them for each close of the
//! port, and [`account::Summary::cut`] counts them apart: a run in which nobody was killed must show none. A
//! sample that is `heard` and not in the store is *lost*, and there is no excuse for it: the agent had it for a
//! whole grace time, in which a healthy one has long written it to its queue.
//!
//! A device whose reader has the port open but does not read waits (it takes no sample) once
//! [`hearing::UNREAD_BYTES_MAX`] lie unread.
//!
//! Over MQTT a message is kept and sent again until the broker confirms it; then it is `heard`. One that is not yet
//! confirmed when the simulator ends is `cut`. One that had to be sent again may be in the store once more for each
//! `repeated` line: the device itself doubled it. A message that is confirmed while no subscriber has a persistent
//! session at the broker goes to nobody, and would count as lost: start the agent before the rooms.
//!
//! # Orders
//!
//! Pumps, thermostats and rooms can be told something ([`duty`]). The journal tells of each order that a device has
//! acted on (`executed`, with the command's id) before the device replies: so that a test can count how often a
//! command took effect.

pub mod account;
#[cfg(feature = "broker")]
pub mod broker;
pub mod checks;
pub mod cli;
pub mod device;
pub mod devices;
pub mod duty;
pub mod faults;
mod files;
pub mod fleet;
pub mod hearing;
pub mod journal;
pub mod line;
pub mod models;
pub mod orders;
pub mod pty;
pub mod publisher;
pub mod random;
pub mod reference;
pub mod replay;
pub mod room;
mod websocket_logic;
