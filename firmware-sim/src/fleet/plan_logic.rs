//! Who is where: agents, users and their clients spread over rooms, the same for the same seed.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::random::Random;

/// What a run of the fleet is made of.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Rooms, named NAME-1 and so on.
    pub rooms: usize,
    /// Agents, dealt out to the rooms in turn.
    pub agents: usize,
    /// Devices of one agent, of which it tells in turn.
    pub devices: u64,
    /// Readings in one record.
    pub readings: usize,
    /// How records are published.
    pub pace: Pace,
    /// How long.
    pub time: Duration,
    /// The clients.
    pub clients: Vec<ClientPlan>,
    /// What names of sites, agents and users begin with.
    pub name: String,
}

/// How records are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// So many a second, of all agents together, whatever the gateway says.
    Rate(u32),
    /// Each agent keeps so many unacknowledged.
    InFlight(usize),
}

/// One connection of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ClientPlan {
    /// Whose it is.
    pub user: usize,
    /// The rooms that it listens to.
    pub rooms: Vec<usize>,
    /// It takes 1 kB a second, and so does not count among those who must get everything.
    pub is_slow: bool,
}

/// How many users there are, and what each has.
#[derive(Clone, Debug)]
pub(super) struct Users {
    /// Users.
    pub count: usize,
    /// Rooms of a user.
    pub rooms: RangeInclusive<usize>,
    /// Connections of a user, each to all the user's rooms.
    pub clients: RangeInclusive<usize>,
}

impl Users {
    /// Each user's first room goes round, so that rooms are as full as each other; the others are drawn.
    pub(super) fn spread(&self, rooms: usize, seed: u64) -> Vec<ClientPlan> {
        let mut random = Random::named(seed, "users");
        let mut clients = Vec::new();
        for user in 0..self.count {
            let wanted = random.index(span(&self.rooms)).min(rooms);
            let mut own = vec![user % rooms];
            while own.len() < wanted {
                let room = random.index(0..rooms);
                if !own.contains(&room) {
                    own.push(room);
                }
            }
            let connections = random.index(span(&self.clients));
            clients.extend((0..connections).map(|_| ClientPlan { user, rooms: own.clone(), is_slow: false }));
        }
        clients
    }
}

fn span(range: &RangeInclusive<usize>) -> std::ops::Range<usize> {
    *range.start()..*range.end() + 1
}

impl Plan {
    /// So many slow readers more.
    pub(super) fn add_slow(&mut self, count: usize) {
        let user = self.clients.last().map_or(0, |client| client.user + 1);
        let rooms = self.rooms;
        let slow = (0..count).map(|index| ClientPlan { user: user + index, rooms: vec![index % rooms], is_slow: true });
        self.clients.extend(slow);
    }

    /// The name of a room's site.
    pub(super) fn site(&self, room: usize) -> String {
        format!("{}-{}", self.name, room + 1)
    }

    /// The room that an agent serves.
    pub(super) fn room_of(&self, agent: usize) -> usize {
        agent % self.rooms
    }

    /// Its place among the agents of its room.
    pub(super) fn seat_of(&self, agent: usize) -> usize {
        agent / self.rooms
    }

    /// The agents of a room, in the order of their seats.
    pub(super) fn agents_of(&self, room: usize) -> impl Iterator<Item = usize> {
        (room..self.agents).step_by(self.rooms)
    }

    /// When an agent's record is due, from the start of publishing; `None`: it waits for no time.
    pub(super) fn due_us(&self, agent: usize, number: u64) -> Option<u64> {
        match self.pace {
            Pace::Rate(0) => Some(u64::MAX),
            Pace::Rate(rate) => {
                let place = number.saturating_sub(1).saturating_mul(self.agents as u64).saturating_add(agent as u64);
                Some(place.saturating_mul(1_000_000) / u64::from(rate))
            }
            Pace::InFlight(_) => None,
        }
    }

    /// Records that an agent will publish at a rate.
    pub(super) fn records_of(&self, agent: usize) -> u64 {
        let time = u64::try_from(self.time.as_micros()).unwrap_or(u64::MAX);
        match self.pace {
            Pace::Rate(rate) => {
                let all = time.saturating_mul(rate.into()).div_ceil(1_000_000);
                all.saturating_sub(agent as u64).div_ceil(self.agents.max(1) as u64)
            }
            Pace::InFlight(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(agents: usize, rate: u32) -> Plan {
        Plan {
            rooms: 3,
            agents,
            devices: 1,
            readings: 1,
            pace: Pace::Rate(rate),
            time: Duration::from_secs(2),
            clients: Vec::new(),
            name: "fleet".to_owned(),
        }
    }

    #[test]
    fn users_have_different_rooms_within_their_bounds_and_the_seed_repeats_them() {
        let users = Users { count: 300, rooms: 1..=3, clients: 1..=3 };
        let clients = users.spread(10, 1);
        assert_eq!(clients, users.spread(10, 1));
        assert_ne!(clients, users.spread(10, 2));
        for client in &clients {
            let distinct: std::collections::BTreeSet<_> = client.rooms.iter().collect();
            assert!(distinct.len() == client.rooms.len() && (1..=3).contains(&distinct.len()));
        }
        assert_eq!(clients.last().map(|client| client.user), Some(299));
        assert!((300 * 3 / 2..=300 * 5 / 2).contains(&clients.len()), "{}", clients.len());
    }

    #[test]
    fn a_user_of_more_rooms_than_there_are_has_them_all() {
        let clients = Users { count: 1, rooms: 3..=3, clients: 1..=1 }.spread(2, 1);
        assert_eq!(clients[0].rooms.len(), 2);
    }

    #[test]
    fn every_agent_has_one_seat_in_one_room() {
        let plan = plan(7, 1);
        for agent in 0..7 {
            let seated: Vec<usize> = plan.agents_of(plan.room_of(agent)).collect();
            assert_eq!(seated[plan.seat_of(agent)], agent);
        }
        assert_eq!((0..3).map(|room| plan.agents_of(room).count()).sum::<usize>(), 7);
    }

    #[test]
    fn records_are_due_evenly_and_as_many_as_the_rate_says() {
        let plan = plan(4, 10);
        let due: Vec<_> = (0..4).map(|agent| plan.due_us(agent, 1)).collect();
        assert_eq!(due, [Some(0), Some(100_000), Some(200_000), Some(300_000)]);
        assert_eq!(plan.due_us(1, 2), Some(500_000));
        assert_eq!((0..4).map(|agent| plan.records_of(agent)).sum::<u64>(), 20);
        for agent in 0..4 {
            let (last, next) = (plan.records_of(agent), plan.records_of(agent) + 1);
            assert!(plan.due_us(agent, last) < Some(2_000_000) && Some(2_000_000) <= plan.due_us(agent, next));
        }
    }
}
