//! The queue's promises, each tried on a disk that fails.

mod compact;
mod crash;
mod durability;
mod faults;
mod flash;
mod handle;
mod model;
mod renew;
mod room;
mod support;
