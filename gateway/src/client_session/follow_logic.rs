//! Which commands a connection follows, and what its client is told of them.
//!
//! What comes may come twice, late, or not at all: whoever was told that something did not come asks the store and
//! hands over what that says. So a state is told once, and nothing after the one that ends the wait.

use std::collections::BTreeMap;

use lockgate_proto::command::{Command, CommandId, CommandUpdate, Group, GroupError, Kept, State, Summary};
use lockgate_proto::ids::{DeviceName, Site};
use lockgate_proto::time::UnixMicros;

/// LIMIT: most commands that one connection follows, those of groups counted one by one.
pub(crate) const FOLLOWED_MAX: usize = 2_048;

/// What one connection follows.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    rooms: BTreeMap<Site, Room>,
}

/// What it follows in one room.
#[derive(Debug, Default)]
struct Room {
    commands: BTreeMap<CommandId, One>,
    groups: BTreeMap<CommandId, Many>,
}

#[derive(Debug)]
struct One {
    told: State,
    at: UnixMicros,
    deadline: UnixMicros,
}

#[derive(Debug)]
struct Many {
    group: Group,
    deadline: UnixMicros,
}

/// News for the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// Of one command.
    Command(CommandUpdate),
    /// Of a group.
    Group(CommandId, Summary),
}

impl Followed {
    /// Follows a command, unless nobody need wait for it any more.
    pub(crate) fn follow(&mut self, site: &Site, kept: &Kept) {
        if kept.standing.state.ends_the_wait() {
            return;
        }
        let one = One { told: kept.standing.state.clone(), at: kept.since, deadline: kept.command.deadline };
        self.rooms.entry(site.clone()).or_default().commands.insert(kept.command.id.clone(), one);
    }

    /// Follows a group, unless nobody need wait for any of it.
    pub(crate) fn follow_group(&mut self, site: &Site, group: Group, deadline: UnixMicros) {
        if group.summary().is_complete() {
            return;
        }
        let room = self.rooms.entry(site.clone()).or_default();
        room.groups.insert(group.id.clone(), Many { group, deadline });
    }

    /// Follows a command or a group no more; says whether it was followed.
    pub(crate) fn unfollow(&mut self, site: &Site, id: &CommandId) -> bool {
        let Some(room) = self.rooms.get_mut(site) else { return false };
        let was = room.commands.remove(id).is_some() | room.groups.remove(id).is_some();
        self.rooms.retain(|_, room| !room.is_empty());
        was
    }

    /// How many commands are followed.
    pub(crate) fn len(&self) -> usize {
        let members = |room: &Room| room.groups.values().map(|many| many.group.members().count()).sum::<usize>();
        self.rooms.values().map(|room| room.commands.len() + members(room)).sum()
    }

    /// Whether anything of a room is.
    pub(crate) fn has(&self, site: &Site) -> bool {
        self.rooms.contains_key(site)
    }

    /// What is to be told of what came. Of a group, how it stands after all of it.
    pub(crate) fn news<'u>(&mut self, site: &Site, updates: impl IntoIterator<Item = &'u CommandUpdate>) -> Vec<Tell> {
        let Some(room) = self.rooms.get_mut(site) else { return Vec::new() };
        let (mut told, mut summaries) = (Vec::new(), BTreeMap::new());
        for update in updates {
            told.extend(room.of_command(update).map(Tell::Command));
            for (id, many) in &mut room.groups {
                summaries.extend(many.group.update(update).map(|summary| (id.clone(), summary)));
            }
        }
        for (id, summary) in &summaries {
            if summary.is_complete() {
                room.groups.remove(id);
            }
        }
        self.rooms.retain(|_, room| !room.is_empty());
        told.extend(summaries.into_iter().map(|(id, summary)| Tell::Group(id, summary)));
        told
    }

    /// The commands of a room of which nothing final is known, where something did not come.
    pub(crate) fn open(&self, site: &Site) -> Vec<CommandId> {
        self.room(site).map_or_else(Vec::new, |room| room.open(|_| true).collect())
    }

    /// The same of all rooms, of those whose deadline has passed: somebody should have said by now what became of them.
    pub(crate) fn overdue(&self, now: UnixMicros) -> Vec<(Site, Vec<CommandId>)> {
        let of_room = |(site, room): (&Site, &Room)| (site.clone(), room.open(|deadline| deadline <= now).collect());
        self.rooms.iter().map(of_room).filter(|(_, ids): &(Site, Vec<CommandId>)| !ids.is_empty()).collect()
    }

    /// When the first deadline passes.
    pub(crate) fn deadline(&self) -> Option<UnixMicros> {
        self.rooms.values().flat_map(Room::deadlines).min()
    }

    fn room(&self, site: &Site) -> Option<&Room> {
        self.rooms.get(site)
    }
}

impl Room {
    fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.groups.is_empty()
    }

    fn of_command(&mut self, update: &CommandUpdate) -> Option<CommandUpdate> {
        let one = self.commands.get_mut(&update.id)?;
        let state = &update.standing.state;
        if state.ends_the_wait() {
            self.commands.remove(&update.id);
            return Some(update.clone());
        }
        // What the store said may be ahead of what still comes.
        if update.at < one.at || (*state == one.told && update.progress.is_none()) {
            return None;
        }
        (one.told, one.at) = (state.clone(), update.at);
        Some(update.clone())
    }

    fn open(&self, is_wanted: impl Fn(UnixMicros) -> bool) -> impl Iterator<Item = CommandId> {
        let commands = self.commands.iter().filter(|(_, one)| is_wanted(one.deadline)).map(|(id, _)| id.clone());
        let members = self.groups.values().filter(|many| is_wanted(many.deadline)).flat_map(|many| {
            let open = many.group.members().filter(|(_, state)| !state.ends_the_wait());
            open.map(|(device, _)| many.group.id.member(device))
        });
        commands.chain(members).collect::<Vec<_>>().into_iter()
    }

    fn deadlines(&self) -> impl Iterator<Item = UnixMicros> {
        let commands = self.commands.values().map(|one| one.deadline);
        commands.chain(self.groups.values().map(|many| many.deadline))
    }
}

/// A group as it stands in the store.
pub(crate) fn group_of(id: &CommandId, members: &[Kept]) -> Result<Group, GroupError> {
    let first = members.first().ok_or(GroupError::Empty)?;
    let devices: Vec<DeviceName> = members.iter().map(|kept| kept.command.device.clone()).collect();
    let (mut group, _) = Group::order(&Command { id: id.clone(), ..first.command.clone() }, devices)?;
    for kept in members {
        group.update(&kept.update());
    }
    Ok(group)
}

#[cfg(test)]
mod tests;
