//! A whole gateway in this process, over the embedded backbone, with scripted agents and clients at real WebSockets.

mod agent;
mod client;
mod doors;
mod flow;
mod outage;
mod slow_readers;
mod world;
