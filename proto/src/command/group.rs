//! A command to many devices: one summary that fills as outcomes come.
//!
//! Which devices (all of a site, those with a tag) is settled once, when the group is ordered. From then on each has a
//! command of its own, with an id made of the group's and the device's: ordered again, it makes no second command.

use std::collections::BTreeMap;

use super::{Command, CommandId, CommandUpdate, State};
use crate::ids::DeviceName;
use crate::limits::GROUP_MEMBERS_MAX;

/// A group of commands, and what is known of each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// The group's id, which is no command's.
    pub id: CommandId,
    members: BTreeMap<DeviceName, State>,
}

/// Why there can be no such group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The site has no device, or none has the tag.
    #[error("names no device; correct the tag, or announce devices first")]
    Empty,
    /// It would have more than [`GROUP_MEMBERS_MAX`] members.
    #[error("names {count} devices; at most {GROUP_MEMBERS_MAX} are allowed: use tags")]
    TooLarge {
        /// How many.
        count: usize,
    },
    /// Its id is that of a group's member.
    #[error("id has a slash, which stands between a group's id and a device; choose one without")]
    MemberId,
}

/// How many members of a group stand where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Summary {
    /// By the word of the state; states without members are left out.
    pub counts: BTreeMap<&'static str, usize>,
    /// All members.
    pub members: usize,
    /// Those that have ended, and are known to have.
    pub ended: usize,
    /// Those that nobody waits for any more: `unknown` ones, too.
    pub over: usize,
}

impl Summary {
    /// Whether nobody waits any more.
    pub fn is_complete(&self) -> bool {
        self.over == self.members
    }
}

impl Group {
    /// A group, and the command of each of its devices. `command` says all but the device; its id is the group's.
    pub fn order(
        command: &Command,
        devices: impl IntoIterator<Item = DeviceName>,
    ) -> Result<(Group, Vec<Command>), GroupError> {
        if command.id.is_member() {
            return Err(GroupError::MemberId);
        }
        let members: BTreeMap<DeviceName, State> =
            devices.into_iter().map(|device| (device, State::Accepted)).collect();
        match members.len() {
            0 => return Err(GroupError::Empty),
            count if count > GROUP_MEMBERS_MAX => return Err(GroupError::TooLarge { count }),
            _ => {}
        }
        let member =
            |device: &DeviceName| Command { id: command.id.member(device), device: device.clone(), ..command.clone() };
        let commands = members.keys().map(member).collect();
        Ok((Group { id: command.id.clone(), members }, commands))
    }

    /// Takes in what became of one command; gives back the summary if that changed it. Updates come in the room's
    /// order, so the last one is right, also where an agent has corrected what the backbone had concluded.
    pub fn update(&mut self, update: &CommandUpdate) -> Option<Summary> {
        let state = self.members.get_mut(&update.device).filter(|_| update.id == self.id.member(&update.device))?;
        if *state == update.standing.state {
            return None;
        }
        *state = update.standing.state.clone();
        Some(self.summary())
    }

    /// How many members stand where.
    pub fn summary(&self) -> Summary {
        let mut summary = Summary { members: self.members.len(), ..Summary::default() };
        for state in self.members.values() {
            *summary.counts.entry(state.as_str()).or_default() += 1;
            summary.ended += usize::from(state.outcome().is_some());
            summary.over += usize::from(state.ends_the_wait());
        }
        summary
    }

    /// Each member and where it stands.
    pub fn members(&self) -> impl Iterator<Item = (&DeviceName, &State)> {
        self.members.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::book::tests::{command, device};
    use crate::command::{Outcome, Standing};
    use crate::time::UnixMicros;

    fn update(command: &Command, state: State) -> CommandUpdate {
        CommandUpdate {
            id: command.id.clone(),
            device: command.device.clone(),
            name: command.name.clone(),
            standing: Standing::by_agent(state),
            progress: None,
            at: UnixMicros(1),
        }
    }

    #[test]
    fn the_summary_fills_as_outcomes_come_and_corrects_itself() {
        let devices = ["b", "a", "b"].map(device);
        let (mut group, commands) = Group::order(&command("close-all"), devices).unwrap();
        assert_eq!(
            commands.iter().map(|command| command.id.as_str()).collect::<Vec<_>>(),
            ["close-all/a", "close-all/b"]
        );
        assert_eq!(group.summary().counts, BTreeMap::from([("accepted", 2)]));
        let first = group.update(&update(&commands[0], State::Ended(Outcome::Expired))).unwrap();
        assert_eq!((first.ended, first.over, first.is_complete()), (1, 1, false));
        assert_eq!(group.update(&update(&commands[0], State::Ended(Outcome::Expired))), None, "it is no news");
        let second = group.update(&update(&commands[1], State::Unknown)).unwrap();
        assert_eq!((second.ended, second.over, second.is_complete()), (1, 2, true));
        let third = group.update(&update(&commands[1], State::Ended(Outcome::Interrupted))).unwrap();
        assert_eq!(third.counts, BTreeMap::from([("expired", 1), ("interrupted", 1)]));
    }

    #[test]
    fn a_group_counts_only_its_own_commands() {
        let (mut group, _) = Group::order(&command("g"), [device("a")]).unwrap();
        let other = Command { device: device("a"), ..command("other") };
        assert_eq!(group.update(&update(&other, State::Executing)), None);
        assert_eq!(
            group.update(&update(&Command { id: command("g").id.member(&device("z")), ..other }, State::Unknown)),
            None
        );
    }

    #[test]
    fn a_group_has_members_and_an_id_of_its_own() {
        assert_eq!(Group::order(&command("g"), []), Err(GroupError::Empty));
        assert_eq!(Group::order(&command("g/a"), [device("a")]), Err(GroupError::MemberId));
        let many = (0..=GROUP_MEMBERS_MAX).map(|at| device(&format!("d{at}")));
        assert_eq!(Group::order(&command("g"), many), Err(GroupError::TooLarge { count: GROUP_MEMBERS_MAX + 1 }));
    }
}
