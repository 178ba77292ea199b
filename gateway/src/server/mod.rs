//! The doors: listening sockets, HTTP, and the handshakes that turn connections into sessions.

mod accept;
mod admission;
mod listen;
mod routes;
mod turnstile;
mod turnstile_logic;
mod upgrade;

pub use listen::{Bound, LISTEN_FILE, ListenError};

pub(crate) use accept::{Door, Visit, run as accept};
pub(crate) use admission::{Admission, Bounds, Slot};
pub(crate) use listen::open;
pub(crate) use routes::{metrics_router, router};
pub(crate) use turnstile::Turnstiles;
