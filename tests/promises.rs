//! One module per promise; each tries to break it with real processes, brokers and ports.

mod captures;
mod commands;
mod disk;
mod exactly_once;
mod failover;
mod json;
mod load;
mod presence;
mod rest;
mod resume;
mod secure;
mod time;
