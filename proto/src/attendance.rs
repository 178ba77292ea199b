//! Who is in a room: agents and people, over all instances.
//!
//! Every instance has a *sheet* that says who is in the room there, and renews it before its lease ends. The
//! *book* keeps all sheets, and tells a *turn* whenever someone is on a sheet for the first time, or on none
//! any more. Pure: the book is one value, which a backbone replaces as a whole.
//!
//! What must not look like leaving: an instance that renews late, a backbone that was paused so that nobody
//! could renew, a clock that jumps. Whoever comes back within the lease has not been away.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::convert::{ConvertError, attendance_from_bytes, attendance_to_bytes};
use crate::ids::{AgentName, InstanceId, UserName};
use crate::time::UnixMicros;

/// Who can be in a room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attendee {
    /// An agent that feeds it.
    Agent(AgentName),
    /// A person who listens to it.
    User(UserName),
}

impl Attendee {
    /// The word for what it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Attendee::Agent(_) => "agent",
            Attendee::User(_) => "user",
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        match self {
            Attendee::Agent(name) => name.as_str(),
            Attendee::User(name) => name.as_str(),
        }
    }
}

impl fmt::Display for Attendee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

/// Who is in a room at one instance, and with how many connections: none, for one who is about to come back.
pub type Here = BTreeMap<Attendee, u32>;

/// What one instance says of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// Who says so.
    pub instance: InstanceId,
    /// Everybody who is there. Nobody: the instance has no part in the room any more.
    pub here: Here,
    /// For how long this stands without being said again.
    pub lease: Duration,
}

/// Someone in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Who it is.
    pub attendee: Attendee,
    /// Connections at all instances.
    pub connections: u32,
    /// When it came.
    pub since: UnixMicros,
}

/// Someone has come, or has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who, since when, and with how many connections.
    pub who: Present,
    /// Whether it is in the room now.
    pub here: bool,
}

/// All that is known of who is in a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Book {
    pub(crate) sheets: BTreeMap<InstanceId, KeptSheet>,
    /// INVARIANT: those who are on a sheet.
    pub(crate) present: BTreeMap<Attendee, UnixMicros>,
    pub(crate) told_at: UnixMicros,
    pub(crate) expire_from: UnixMicros,
}

impl Default for Book {
    fn default() -> Book {
        let (told_at, expire_from) = (UnixMicros::ZERO, UnixMicros::ZERO);
        Book { sheets: BTreeMap::new(), present: BTreeMap::new(), told_at, expire_from }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptSheet {
    pub(crate) until: UnixMicros,
    pub(crate) here: Here,
}

impl Book {
    /// Takes in a sheet; gives back who came and who left. `lease` is the longest that a sheet stands.
    pub fn say(&mut self, now: UnixMicros, sheet: Sheet, lease: Duration) -> Vec<Turn> {
        self.pass(now, lease);
        self.told_at = now;
        if sheet.here.is_empty() {
            self.sheets.remove(&sheet.instance);
        } else {
            let until = later(now, sheet.lease.min(lease));
            self.sheets.insert(sheet.instance, KeptSheet { until, here: sheet.here });
        }
        self.turns(now)
    }

    /// Gives up the sheets whose lease has ended; gives back who left by that.
    pub fn expire(&mut self, now: UnixMicros, lease: Duration) -> Vec<Turn> {
        self.pass(now, lease);
        self.turns(now)
    }

    /// Whether anything would change if [`Book::expire`] were called now.
    pub fn has_expired(&self, now: UnixMicros, lease: Duration) -> bool {
        let mut then = self.clone();
        !then.expire(now, lease).is_empty() || then.sheets.len() != self.sheets.len()
    }

    /// Everybody who is in the room.
    pub fn present(&self) -> Vec<Present> {
        let present = self.present.iter();
        present
            .map(|(attendee, since)| Present {
                attendee: attendee.clone(),
                connections: self.connections(attendee),
                since: *since,
            })
            .collect()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.sheets.is_empty() && self.present.is_empty()
    }

    /// The form in which a backbone stores it.
    pub fn to_bytes(&self) -> Vec<u8> {
        attendance_to_bytes(self)
    }

    /// The book that was stored.
    pub fn from_bytes(bytes: &[u8]) -> Result<Book, ConvertError> {
        attendance_from_bytes(bytes)
    }

    /// Drops what has expired, unless nobody could have renewed it.
    fn pass(&mut self, now: UnixMicros, lease: Duration) {
        if now < self.told_at {
            // The clock went back. What was to stand for one lease stands for one from now.
            self.told_at = now;
            self.expire_from = self.expire_from.min(later(now, lease));
            for sheet in self.sheets.values_mut() {
                sheet.until = sheet.until.min(later(now, lease));
            }
        }
        let is_late = later(self.told_at, lease / 2) < now && !self.sheets.is_empty();
        if is_late && self.expire_from <= self.told_at {
            // Nobody has said anything for long: everybody was cut off, or the clock went forward. One lease
            // for all to come back.
            self.expire_from = later(now, lease);
        }
        if self.expire_from <= now {
            self.sheets.retain(|_, sheet| now <= sheet.until);
        }
    }

    fn turns(&mut self, now: UnixMicros) -> Vec<Turn> {
        let mut here: Here = Here::new();
        for (attendee, connections) in self.sheets.values().flat_map(|sheet| &sheet.here) {
            let sum = here.entry(attendee.clone()).or_default();
            *sum = sum.saturating_add(*connections);
        }
        let mut turns = Vec::new();
        self.present.retain(|attendee, since| {
            let stays = here.contains_key(attendee);
            if !stays {
                let who = Present { attendee: attendee.clone(), connections: 0, since: *since };
                turns.push(Turn { who, here: false });
            }
            stays
        });
        for (attendee, connections) in here {
            if !self.present.contains_key(&attendee) {
                self.present.insert(attendee.clone(), now);
                turns.push(Turn { who: Present { attendee, connections, since: now }, here: true });
            }
        }
        turns
    }

    fn connections(&self, attendee: &Attendee) -> u32 {
        let counts = self.sheets.values().filter_map(|sheet| sheet.here.get(attendee));
        counts.fold(0, |sum: u32, count| sum.saturating_add(*count))
    }
}

fn later(at: UnixMicros, by: Duration) -> UnixMicros {
    at.offset_by(i64::try_from(by.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
