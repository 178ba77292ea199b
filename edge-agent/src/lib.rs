//! The edge agent: devices → readings → a queue on disk → the gateway.
//!
//! In the order of the data: `config` says what there is, `source` hears serial ports and brokers,
//! `ingest` dates and sorts what their profiles make of it, `queue` keeps it on disk, `uplink` sends it
//! and frees what the gateway has; what comes down by it, `commands` carries out, once each. `dead_letters` keeps what could not be used, `health` tells how the
//! agent itself is. `run` starts and stops all of it; `cli` is what people type. `account` and `data` know
//! what the system lets this process do.
//!
//! The stages know each other only by handles, which `run` gives out.

pub mod cli;
pub mod config;
pub mod profiles;

pub mod account;
pub mod data;

pub mod source;

pub mod ingest;
pub mod time;

pub mod dead_letters;
pub mod queue;

pub mod commands;

pub mod uplink;

pub mod health;
pub mod run;

#[cfg(test)]
mod testing;
