//! What clients ask about commands, checked as far as nothing but the request is needed.

use lockgate_proto::command::{Command, CommandId, Fields, Priority, State};
use lockgate_proto::convert::fields_from_wire;
use lockgate_proto::ids::{CommandName, DeviceName, Site, Tag, UserName};
use lockgate_proto::time::UnixMicros;
use lockgate_proto::wire;

use super::{RequestError, bad_name, site};
use crate::backbone::{HistoryPlace, StateWanted};

/// Most commands on one page of a list: the largest that there are fit into a message.
const COMMANDS_PAGE_MAX: u32 = 100;

/// The word for all states in which a command has not ended.
const OPEN: &str = "open";

/// What a client asks about commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OrderRequest {
    /// Do this.
    Send(Box<SendRequest>),
    /// Where does it stand, a command or a group; and tell each further state?
    Get { site: Site, id: CommandId, follow: bool },
    /// Which are there?
    List(Site, CommandsPage),
    /// Take it back.
    Cancel(Site, CommandId),
    /// Tell no more of it.
    Unfollow(Site, CommandId),
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SendRequest {
    pub(crate) site: Site,
    pub(crate) target: Target,
    pub(crate) draft: Draft,
    pub(crate) follow: bool,
    /// The sender had an answer before.
    pub(crate) answered: bool,
}

/// Who shall act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Device(DeviceName),
    All,
    Tagged(Tag),
}

/// A command but for its device and its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) id: CommandId,
    pub(crate) name: CommandName,
    arguments: Fields,
    idempotent: bool,
    priority: Priority,
    deadline: UnixMicros,
}

impl Draft {
    /// The whole command.
    pub(crate) fn command(&self, device: DeviceName, sender: UserName) -> Command {
        Command {
            id: self.id.clone(),
            device,
            name: self.name.clone(),
            arguments: self.arguments.clone(),
            idempotent: self.idempotent,
            priority: self.priority,
            deadline: self.deadline,
            sender,
        }
    }
}

/// Which part of the history of commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandsPage {
    pub(crate) device: Option<DeviceName>,
    pub(crate) state: Option<StateWanted>,
    pub(crate) group: Option<CommandId>,
    /// Older than this one.
    pub(crate) before: Option<HistoryPlace>,
    pub(crate) max: usize,
}

pub(crate) fn send(send: wire::SendCommand) -> Result<OrderRequest, RequestError> {
    let priority = match send.priority() {
        wire::CommandPriority::Low => Priority::Low,
        wire::CommandPriority::Normal | wire::CommandPriority::Unspecified => Priority::Normal,
        wire::CommandPriority::High => Priority::High,
    };
    let target = match &send.target {
        Some(wire::send_command::Target::Device(name)) => Target::Device(device("send_command.device", name)?),
        Some(wire::send_command::Target::All(wire::AllDevices {})) => Target::All,
        Some(wire::send_command::Target::Tag(tag)) => {
            Target::Tagged(Tag::new(tag).map_err(|error| bad_name("send_command.tag", &error))?)
        }
        None => {
            let message = "nobody is named who shall act; name a device, a tag, or all";
            return Err(RequestError::invalid("send_command.device", message));
        }
    };
    let draft_id = id("send_command.id", &send.id)?;
    if draft_id.is_member() {
        let message = "the id has a slash, which stands between a group's id and a device; choose one without";
        return Err(RequestError::invalid("send_command.id", message));
    }
    if send.deadline_us <= 0 {
        let message = "there is no deadline; give an instant, such as server_time_us of Connected and half a minute";
        return Err(RequestError::invalid("send_command.deadline_us", message));
    }
    let name = CommandName::new(&send.name).map_err(|error| bad_name("send_command.name", &error))?;
    let arguments = fields_from_wire("send_command.arguments", send.arguments)
        .map_err(|error| RequestError::invalid("send_command.arguments", error.to_string()))?;
    let (idempotent, deadline) = (send.idempotent, UnixMicros(send.deadline_us));
    let draft = Draft { id: draft_id, name, arguments, idempotent, priority, deadline };
    let site = site("send_command.site", &send.site)?;
    Ok(OrderRequest::Send(Box::new(SendRequest { site, target, draft, follow: send.follow, answered: send.answered })))
}

pub(super) fn get(get: &wire::GetCommand) -> Result<OrderRequest, RequestError> {
    let (site, id) = (site("get_command.site", &get.site)?, id("get_command.id", &get.id)?);
    Ok(OrderRequest::Get { site, id, follow: get.follow })
}

pub(super) fn cancel(cancel: &wire::CancelCommand) -> Result<OrderRequest, RequestError> {
    let (site, id) = (site("cancel_command.site", &cancel.site)?, id("cancel_command.id", &cancel.id)?);
    Ok(OrderRequest::Cancel(site, id))
}

pub(super) fn unfollow(unfollow: &wire::UnfollowCommand) -> Result<OrderRequest, RequestError> {
    let (site, id) = (site("unfollow_command.site", &unfollow.site)?, id("unfollow_command.id", &unfollow.id)?);
    Ok(OrderRequest::Unfollow(site, id))
}

pub(crate) fn list(list: &wire::ListCommands) -> Result<OrderRequest, RequestError> {
    let named = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let state = match list.state.as_str() {
        "" => None,
        OPEN => Some(StateWanted::Open),
        word if State::WORDS.contains(&word) => Some(StateWanted::Word(word.into())),
        word => {
            let (words, word) = (State::WORDS.join(", "), word.chars().take(32).collect::<String>());
            let message = format!("{word:?} is no state; write {OPEN}, or one of {words}");
            return Err(RequestError::invalid("list_commands.state", message));
        }
    };
    let before = named(&list.after).map(|text| {
        place(&text).ok_or_else(|| {
            RequestError::invalid("list_commands.after", "it is no place in a list; take it from next of a CommandList")
        })
    });
    let max = if list.limit == 0 { COMMANDS_PAGE_MAX } else { list.limit.min(COMMANDS_PAGE_MAX) };
    let page = CommandsPage {
        device: named(&list.device).map(|name| device("list_commands.device", &name)).transpose()?,
        state,
        group: named(&list.group).map(|text| id("list_commands.group", &text)).transpose()?,
        before: before.transpose()?,
        max: usize::try_from(max).unwrap_or(usize::MAX),
    };
    Ok(OrderRequest::List(site("list_commands.site", &list.site)?, page))
}

/// A place in the history of commands, as a client hands it back.
pub(crate) fn place_text(place: &HistoryPlace) -> String {
    format!("{}.{}", place.accepted_at.0, place.id)
}

fn place(text: &str) -> Option<HistoryPlace> {
    let (accepted_at, id) = text.split_once('.')?;
    Some(HistoryPlace { accepted_at: UnixMicros(accepted_at.parse().ok()?), id: CommandId::new(id).ok()? })
}

fn device(field: &'static str, name: &str) -> Result<DeviceName, RequestError> {
    DeviceName::new(name).map_err(|error| bad_name(field, &error))
}

fn id(field: &'static str, text: &str) -> Result<CommandId, RequestError> {
    CommandId::new(text).map_err(|error| RequestError::invalid(field, format!("the id {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockgate_proto::wire::send_command::Target as To;

    fn good() -> wire::SendCommand {
        wire::SendCommand {
            site: "plant".into(),
            target: Some(To::Device("pump".into())),
            id: "c".into(),
            name: "set".into(),
            deadline_us: 7,
            ..wire::SendCommand::default()
        }
    }

    #[test]
    fn an_order_that_says_nothing_of_its_priority_is_a_normal_one() {
        let OrderRequest::Send(asked) = send(good()).unwrap() else { panic!("an order") };
        let (pump, ann) = (DeviceName::new("pump").unwrap(), UserName::new("ann").unwrap());
        let command = asked.draft.command(pump.clone(), ann);
        assert_eq!(
            (command.priority, command.deadline, asked.target),
            (Priority::Normal, UnixMicros(7), Target::Device(pump))
        );
        assert_eq!((command.id.as_str(), command.name.as_str(), command.sender.as_str()), ("c", "set", "ann"));
        assert!(!asked.follow && !asked.answered && !command.idempotent && command.arguments.is_empty());
    }

    #[test]
    fn the_field_at_fault_of_an_order_is_named() {
        let field = |change: fn(&mut wire::SendCommand)| {
            let mut order = good();
            change(&mut order);
            send(order).unwrap_err().field
        };
        assert_eq!(field(|order| order.site.clear()), "send_command.site");
        assert_eq!(field(|order| order.target = None), "send_command.device");
        assert_eq!(field(|order| order.target = Some(To::Device(String::new()))), "send_command.device");
        assert_eq!(field(|order| order.target = Some(To::Tag("a\u{7}".into()))), "send_command.tag");
        assert_eq!(field(|order| order.id.clear()), "send_command.id");
        assert_eq!(field(|order| order.id = "group/pump".into()), "send_command.id");
        assert_eq!(field(|order| order.name = "a\u{7}".into()), "send_command.name");
        assert_eq!(field(|order| order.deadline_us = 0), "send_command.deadline_us");
        let nothing =
            |order: &mut wire::SendCommand| order.arguments = vec![wire::Field { name: "a".into(), value: None }];
        assert_eq!(field(nothing), "send_command.arguments");
    }

    #[test]
    fn a_list_is_asked_for_by_words_and_places_that_there_are() {
        let field = |wrong: wire::ListCommands| list(&wrong).unwrap_err().field;
        let all = wire::ListCommands { site: "plant".into(), ..wire::ListCommands::default() };
        assert_eq!(field(wire::ListCommands { state: "done".into(), ..all.clone() }), "list_commands.state");
        for after in ["7", "x.c", "7.", "."] {
            assert_eq!(field(wire::ListCommands { after: after.into(), ..all.clone() }), "list_commands.after");
        }
        let place = HistoryPlace { accepted_at: UnixMicros(-3), id: CommandId::new("g/pump.1").unwrap() };
        let asked = wire::ListCommands { after: place_text(&place), state: "open".into(), limit: 7, ..all.clone() };
        let OrderRequest::List(_, page) = list(&asked).unwrap() else { panic!("a list") };
        assert_eq!(
            page,
            CommandsPage { before: Some(place), state: Some(StateWanted::Open), max: 7, ..CommandsPage::default() }
        );
        let OrderRequest::List(_, page) = list(&all).unwrap() else { panic!("a list") };
        assert_eq!(page, CommandsPage { max: 100, ..CommandsPage::default() });
    }
}
