//! The queue's promises, each tried on a disk that fails.

mod crash;
mod durability;
mod faults;
mod model;
mod room;
mod support;
