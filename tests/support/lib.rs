//! Everything that promises are tested and shown with: real programs, real brokers, real faults.
//!
//! Used by the tests of this package and by `cargo demo`. Blocking on purpose: a test reads as a script.

pub mod account;
pub mod agent;
pub mod broker;
pub mod chaos;
pub mod cluster;
pub mod devices;
pub mod faketime;
pub mod fleet;
pub mod gateway;
pub mod line;
pub mod locust;
pub mod loss;
pub mod orders;
pub mod program;
pub mod proxy;
pub mod python;
pub mod random;
pub mod redis;
pub mod redis_cluster;
pub mod servant;
pub mod tls;
pub mod wait;
pub mod watch;
