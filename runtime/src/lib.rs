//! What the programs of Lockgate share: the shells around the pure core.
//!
//! `supervisor` starts and stops tasks; `signals` and `logs` tie a program to its system, and `log_limit` bounds
//! what a peer can have logged; `clock` and `random` are the only places that read either; `timer` waits for
//! moments that move; `tls`, `dial`, `conn` and `link` carry messages, `socket` is what is asked of TCP; `words` and `listen`
//! write and read what people do. Nothing here knows what a message says.

mod conn;
mod listen;
mod socket;
mod supervisor;
mod timer;

pub mod clock;
pub mod dial;
pub mod link;
pub mod log_limit;
pub mod logs;
mod random;
pub mod signals;
pub mod tls;
pub mod words;

pub use conn::Conn;
pub use listen::{ListenAddressError, listen_address};
pub use random::random;
pub use supervisor::{StopCause, Stopped, Supervisor};
pub use timer::LazyTimer;
