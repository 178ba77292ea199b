//! A whole gateway in this process, over the embedded backbone, with scripted agents and clients at real WebSockets.
#![allow(clippy::unwrap_used, reason = "all of this is test code, where an unwrap that fails is the test that fails")]

mod agent;
mod client;
mod commands;
mod descriptions;
mod doors;
mod drain;
mod fake_log;
mod filters;
mod flow;
mod json;
mod orders;
mod outage;
mod presence;
mod rest;
mod rooms;
mod slow_readers;
mod world;
