//! What a backbone on Redis is told.

use std::time::Duration;

use lockgate_proto::limits::ATTENDANCE_LEASE;

use crate::backbone::{Clock, Random, Retention};
use crate::limits::DEVICES_PER_ROOM_MAX;

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The master has it in memory: as durable as Redis is set up to be.
    Memory,
    /// So many replicas have it in memory as well.
    Replicated {
        /// At least one.
        replicas: u32,
    },
    /// The master has it on its disk.
    Fsync,
}

/// What a backbone on Redis needs.
pub struct RedisOptions {
    /// `redis://[USER@]HOST[:PORT][/DB]`, or `rediss://` for TLS.
    pub url: String,
    /// Shown to Redis at every connection.
    pub password: Option<String>,
    /// PEM text of the certificates that are trusted instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// What an acknowledgement waits for.
    pub durability: Durability,
    /// What the logs keep.
    pub retention: Retention,
    /// How often old entries are dropped.
    pub maintenance_interval: Duration,
    /// How long what an instance says of who is in a room stands, by Redis's clock.
    pub attendance_lease: Duration,
    /// Most devices of a room that get a shadow.
    pub devices_per_room_max: usize,
    /// Tells what is too old.
    pub clock: Clock,
    /// Where stamps come from.
    pub random: Random,
}

impl RedisOptions {
    /// The defaults: everything is kept, and an acknowledgement waits for the master's memory.
    pub fn new(url: impl Into<String>, clock: Clock, random: Random) -> RedisOptions {
        RedisOptions {
            url: url.into(),
            password: None,
            ca: None,
            durability: Durability::Memory,
            retention: Retention::default(),
            maintenance_interval: Duration::from_secs(10),
            attendance_lease: ATTENDANCE_LEASE,
            devices_per_room_max: DEVICES_PER_ROOM_MAX,
            clock,
            random,
        }
    }
}
