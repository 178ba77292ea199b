//! What is to be said of which room, and when. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lockgate_proto::attendance::{Attendee, Here};
use lockgate_proto::ids::RoomId;
use lockgate_proto::limits::{ATTENDANCE_LEASE, LEAVE_GRACE};
use lockgate_proto::time::MonoTime;

/// Changes wait so long for others, so that a storm of them is said in few words.
const GATHER: Duration = Duration::from_millis(200);

/// What could not be said is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);

/// Who is in which room at this instance.
#[derive(Debug, Default)]
pub(super) struct Roster {
    rooms: HashMap<RoomId, Room>,
}

#[derive(Debug)]
struct Room {
    here: BTreeMap<Attendee, Standing>,
    /// When the room is to be spoken of next.
    due: MonoTime,
}

/// INVARIANT: whoever has no connection is waited for until `gone_at`.
#[derive(Debug)]
struct Standing {
    connections: u32,
    gone_at: MonoTime,
}

impl Roster {
    pub(super) fn enter(&mut self, now: MonoTime, room: &RoomId, attendee: &Attendee) {
        let room = self.rooms.entry(room.clone()).or_insert_with(|| Room { here: BTreeMap::new(), due: now + GATHER });
        let standing = room.here.entry(attendee.clone()).or_insert(Standing { connections: 0, gone_at: now });
        standing.connections = standing.connections.saturating_add(1);
        room.due = room.due.min(now + GATHER);
    }

    pub(super) fn leave(&mut self, now: MonoTime, room: &RoomId, attendee: &Attendee) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        let Some(standing) = room.here.get_mut(attendee) else { return };
        standing.connections = standing.connections.saturating_sub(1);
        standing.gone_at = now + LEAVE_GRACE;
        room.due = room.due.min(if standing.connections == 0 { standing.gone_at } else { now + GATHER });
    }

    /// When there is something to say next.
    pub(super) fn next_due(&self) -> Option<MonoTime> {
        self.rooms.values().map(|room| room.due).min()
    }

    /// What is to be said now. A room in which nobody is any more is spoken of for the last time.
    pub(super) fn take_due(&mut self, now: MonoTime) -> Vec<(RoomId, Here)> {
        let mut due = Vec::new();
        for (id, room) in self.rooms.iter_mut().filter(|(_, room)| room.due <= now) {
            room.here.retain(|_, standing| standing.connections > 0 || now < standing.gone_at);
            due.push((id.clone(), room.sheet()));
            room.due = room.next_change().min(now + ATTENDANCE_LEASE / 3);
        }
        due
    }

    /// The room's sheet could not be said: soon again.
    pub(super) fn failed(&mut self, now: MonoTime, room: &RoomId) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.due = room.due.min(now + RETRY);
        }
    }

    /// The room's sheet has been said. Rooms in which nobody is are forgotten.
    pub(super) fn said(&mut self, room: &RoomId) {
        if self.rooms.get(room).is_some_and(|room| room.here.is_empty()) {
            self.rooms.remove(room);
        }
    }

    /// All that there is to say.
    pub(super) fn all(&self) -> Vec<(RoomId, Here)> {
        self.rooms.iter().map(|(id, room)| (id.clone(), room.sheet())).collect()
    }
}

impl Room {
    fn sheet(&self) -> Here {
        self.here.iter().map(|(attendee, standing)| (attendee.clone(), standing.connections)).collect()
    }

    /// When the next of those who are waited for is gone.
    fn next_change(&self) -> MonoTime {
        let waited = self.here.values().filter(|standing| standing.connections == 0);
        waited.map(|standing| standing.gone_at).min().unwrap_or(MonoTime::MAX)
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::ids::{Site, Tenant, UserName};
    use proptest::prelude::*;

    use super::*;

    const T0: MonoTime = MonoTime::ZERO;
    const SECOND: Duration = Duration::from_secs(1);

    fn room() -> RoomId {
        RoomId { tenant: Tenant::new("acme").unwrap(), site: Site::new("plant").unwrap() }
    }

    fn ann() -> Attendee {
        Attendee::User(UserName::new("ann").unwrap())
    }

    fn counts(said: &[(RoomId, Here)]) -> Vec<u32> {
        said.iter().flat_map(|(_, here)| here.values().copied()).collect()
    }

    #[test]
    fn a_coming_is_said_soon_and_again_before_the_lease_ends() {
        let mut roster = Roster::default();
        roster.enter(T0, &room(), &ann());
        roster.enter(T0 + GATHER / 2, &room(), &ann());
        assert!(roster.take_due(T0 + GATHER / 2).is_empty());
        assert_eq!(counts(&roster.take_due(T0 + GATHER)), [2]);
        roster.said(&room());
        assert_eq!(roster.next_due(), Some(T0 + GATHER + ATTENDANCE_LEASE / 3));
    }

    #[test]
    fn who_comes_back_soon_has_not_left() {
        let mut roster = Roster::default();
        roster.enter(T0, &room(), &ann());
        roster.take_due(T0 + SECOND);
        roster.leave(T0 + SECOND, &room(), &ann());
        roster.enter(T0 + SECOND + LEAVE_GRACE / 2, &room(), &ann());
        for second in 1..60 {
            for (_, here) in roster.take_due(T0 + SECOND * second) {
                assert!(here.contains_key(&ann()), "gone after {second} s");
            }
        }
    }

    #[test]
    fn who_stays_away_is_gone_when_the_grace_is_over_and_the_room_is_forgotten() {
        let mut roster = Roster::default();
        roster.enter(T0, &room(), &ann());
        roster.take_due(T0 + SECOND);
        roster.leave(T0 + SECOND, &room(), &ann());
        let due = roster.next_due().unwrap();
        assert_eq!(due, T0 + SECOND + LEAVE_GRACE);
        let said = roster.take_due(due);
        assert!(said.len() == 1 && said[0].1.is_empty(), "{said:?}");
        // Not heard of by the backbone yet: said until it is.
        roster.failed(due, &room());
        assert_eq!(roster.take_due(due + RETRY).len(), 1);
        roster.said(&room());
        assert_eq!(roster.next_due(), None);
    }

    proptest! {
        #[test]
        fn whoever_has_a_connection_is_on_every_sheet(steps in prop::collection::vec((0u64..4_000, any::<bool>()), 0..80)) {
            let (mut roster, mut now, mut open, mut renewed) = (Roster::default(), T0, 0u32, T0);
            for (millis, enters) in steps {
                now = now + Duration::from_millis(millis);
                for (_, here) in roster.take_due(now) {
                    prop_assert!(open == 0 || here.get(&ann()) == Some(&open));
                    renewed = now;
                    roster.said(&room());
                }
                prop_assert!(open == 0 || roster.next_due().unwrap() <= renewed.max(now) + ATTENDANCE_LEASE / 3);
                if enters {
                    roster.enter(now, &room(), &ann());
                    open += 1;
                } else if open > 0 {
                    roster.leave(now, &room(), &ann());
                    open -= 1;
                }
            }
        }
    }
}
