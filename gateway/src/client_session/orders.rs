//! What a client asks about commands, done at the desk: who may, which devices, and what became of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use lockgate_proto::command::{AcceptError, Command, CommandId, Group, GroupError, Kept};
use lockgate_proto::ids::{DeviceName, RoomId, Site, Tag, UserName};
use lockgate_proto::limits::GROUP_MEMBERS_MAX;
use lockgate_proto::time::UnixMicros;
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body;
use lockgate_token::{Action, Grant};

use crate::backbone::{CommandsWanted, DeviceTest, PageWanted};
use crate::client_session::answer::unavailable;
use crate::client_session::follow_logic::group_of;
use crate::client_session::order_logic::{Deadline, is_same};
use crate::client_session::reply;
use crate::client_session::request::{CommandsPage, RequestError, SendRequest, Target};
use crate::commands::AcceptFailed;
use crate::context::Context;

/// Whoever meets a full book is told to come back after so long: commands end in the meantime.
const FULL_RETRY: Duration = Duration::from_secs(5);

/// Descriptions that are read at the same time.
const READ_AT_ONCE: usize = 16;

/// LIMIT: devices of a site that are looked at for an order to many: as many as a group may have, and as
/// many that do not take it.
const DEVICES_READ_MAX: usize = 2 * GROUP_MEMBERS_MAX;

/// Members of a group that are read at a time.
const MEMBERS_PAGE: usize = 256;

/// What was ordered, as it stands.
pub(crate) enum Ordered {
    /// Of one device.
    One(Box<Kept>),
    /// Of several, and when the last deadline passes.
    Many(Group, UnixMicros),
}

impl Ordered {
    /// What the client is told.
    pub(crate) fn body(&self, site: &Site) -> Body {
        match self {
            Ordered::One(kept) => Body::Command(reply::command_status(site, kept)),
            Ordered::Many(group, _) => reply::group_status(site, &group.id, &group.summary()),
        }
    }

    /// Whether nobody need wait for it any longer.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Ordered::One(kept) => kept.standing.state.ends_the_wait(),
            Ordered::Many(group, _) => group.summary().is_complete(),
        }
    }

    /// How many commands it is.
    pub(crate) fn count(&self) -> usize {
        match self {
            Ordered::One(_) => 1,
            Ordered::Many(group, _) => group.members().count(),
        }
    }
}

/// Who is to act.
pub(crate) enum Whom {
    One(DeviceName),
    Many(Vec<DeviceName>),
}

impl Whom {
    /// How many commands that makes.
    pub(crate) fn count(&self) -> usize {
        match self {
            Whom::One(_) => 1,
            Whom::Many(devices) => devices.len(),
        }
    }
}

/// Whom an order is for, if the holder of the token may order it.
pub(crate) async fn whom(context: &Context, grant: &Grant, send: &SendRequest) -> Result<Whom, RequestError> {
    let room = grant.room(send.site.clone());
    match &send.target {
        Target::Device(device) if grant.allows(Action::SendToDevice(&room, device)) => Ok(Whom::One(device.clone())),
        Target::Device(device) => Err(may_not_send("send_command.device", &format!("the device {device:?}"))),
        Target::All if grant.allows(Action::SendToRoom(&room)) => {
            devices(context, &room, send, None).await.map(Whom::Many)
        }
        Target::Tagged(tag) => {
            let devices = devices(context, &room, send, Some(tag)).await?;
            if devices.iter().all(|device| grant.allows(Action::SendToDevice(&room, device))) {
                return Ok(Whom::Many(devices));
            }
            // Which they are is not told: the holder may not even see them.
            Err(may_not_send("send_command.tag", &format!("all devices that have the tag {:?}", tag.as_str())))
        }
        Target::All => Err(may_not_send("send_command.all", &format!("all devices of the site {:?}", room.site))),
    }
}

/// Those of a group that is there already where its sender knows who they are; else those of the site, or with the tag,
/// that are not known not to take the command.
async fn devices(
    context: &Context,
    room: &RoomId,
    send: &SendRequest,
    tag: Option<&Tag>,
) -> Result<Vec<DeviceName>, RequestError> {
    if send.answered {
        let members = members(context, room, &send.draft.id).await?;
        if !members.is_empty() {
            return Ok(members.into_iter().map(|kept| kept.command.device).collect());
        }
    }
    let wanted = PageWanted { devices: DeviceTest::all(), tag: tag.cloned(), after: None, count_max: DEVICES_READ_MAX };
    let page = context.backbone.page(room, wanted).await.map_err(|error| unavailable(&error))?;
    if page.more {
        return Err(refused(&GroupError::TooLarge { count: page.devices.len() }.into()));
    }
    let devices = page.devices.into_iter().map(|device| device.device);
    let asked = devices.map(|device| async {
        let described = context.backbone.description(room, &device).await?;
        // Who is known not to understand it is not of the group; the agent itself is a device, too.
        Ok(described.is_none_or(|described| described.command(&send.draft.name).is_some()).then_some(device))
    });
    let taking: Vec<Option<DeviceName>> =
        stream::iter(asked).buffered(READ_AT_ONCE).try_collect().await.map_err(|error| unavailable(&error))?;
    Ok(taking.into_iter().flatten().collect())
}

/// Takes an order in.
pub(crate) async fn accept(
    context: &Context,
    grant: &Grant,
    send: &SendRequest,
    whom: Whom,
) -> Result<Ordered, RequestError> {
    let room = grant.room(send.site.clone());
    let sender = UserName::new(grant.subject()).map_err(|error| {
        let message = format!("the name in the token {error}; commands are kept by it");
        RequestError::new(wire::ErrorCode::Forbidden, "", message)
    })?;
    match whom {
        Whom::One(device) => {
            let command = send.draft.command(device, sender);
            let deadline = Deadline::At(command.deadline);
            Ok(Ordered::One(Box::new(accept_one(context, &room, command, deadline).await?)))
        }
        Whom::Many(devices) => {
            let Some(first) = devices.first().cloned() else { return Err(nobody(send)) };
            let command = send.draft.command(first, sender);
            let kept = context.desk.accept_group(&room, command, devices).await.map_err(|error| refused(&error))?;
            many(&send.draft.id, &kept)
        }
    }
}

/// Takes in an order for one device: with its arguments checked, and the defaults of those that are not given, where the
/// device is described. The same again is the same command, also where the description has changed meanwhile.
pub(crate) async fn accept_one(
    context: &Context,
    room: &RoomId,
    ordered: Command,
    deadline: Deadline,
) -> Result<Kept, RequestError> {
    let error = match checked(context, room, &ordered).await {
        Ok(command) => match context.desk.accept(room, command).await {
            Ok(kept) => return Ok(kept),
            Err(error @ AcceptFailed::Refused(_)) => refused(&error),
            Err(error) => return Err(refused(&error)),
        },
        Err(error) if error.code == wire::ErrorCode::Invalid => error,
        Err(error) => return Err(error),
    };
    let stored = context.desk.get(room, &ordered.id).await.map_err(|error| unavailable(&error))?;
    stored.filter(|kept| is_same(&kept.command, &ordered, deadline)).ok_or(error)
}

/// The command as its device shall have it. A device that is not described takes any: its agent decides. So do those of
/// a group, for what one of them does not know the others may.
async fn checked(context: &Context, room: &RoomId, ordered: &Command) -> Result<Command, RequestError> {
    let described = context.backbone.description(room, &ordered.device).await.map_err(|error| unavailable(&error))?;
    let Some(described) = described else { return Ok(ordered.clone()) };
    let arguments = described.check(&ordered.name, &ordered.arguments).map_err(|error| {
        RequestError::new(wire::ErrorCode::Invalid, format!("send_command.{}", error.field()), error.to_string())
    })?;
    Ok(Command { arguments, ..ordered.clone() })
}

/// How a command stands, or a group, as far as the holder of the token may see it.
pub(crate) async fn get(
    context: &Context,
    grant: &Grant,
    site: &Site,
    id: &CommandId,
    field: &'static str,
) -> Result<Ordered, RequestError> {
    let room = grant.room(site.clone());
    let sees = |kept: &Kept| grant.allows(Action::SeeCommands(&room, &kept.command.device));
    may_list(grant, &room, field)?;
    let found = context.desk.get(&room, id).await.map_err(|error| unavailable(&error))?;
    if let Some(kept) = found.filter(sees) {
        return Ok(Ordered::One(Box::new(kept)));
    }
    let mut members = if id.is_member() { Vec::new() } else { members(context, &room, id).await? };
    members.retain(sees);
    if members.is_empty() { Err(no_such_command(id, field)) } else { many(id, &members) }
}

/// A page of a site's commands.
pub(crate) async fn list(
    context: &Context,
    grant: &Arc<Grant>,
    site: &Site,
    page: CommandsPage,
) -> Result<wire::CommandList, RequestError> {
    let room = grant.room(site.clone());
    may_list(grant, &room, "list_commands.site")?;
    if let Some(device) = page.device.as_ref().filter(|device| !grant.allows(Action::SeeCommands(&room, device))) {
        return Err(may_not_see("list_commands.device", &format!("the commands of the device {device:?}")));
    }
    let wanted = CommandsWanted {
        device: page.device,
        state: page.state,
        group: page.group,
        before: page.before,
        max: page.max,
        ..CommandsWanted::default()
    };
    let mut found = context.desk.list(&room, &wanted).await.map_err(|error| unavailable(&error))?;
    found.commands.retain(|kept| grant.allows(Action::SeeCommands(&room, &kept.command.device)));
    Ok(reply::command_list(site, &found))
}

/// Takes a command, or a group, back. Says how it stands then.
pub(crate) async fn cancel(
    context: &Context,
    grant: &Grant,
    site: &Site,
    id: &CommandId,
) -> Result<Ordered, RequestError> {
    let room = grant.room(site.clone());
    let ids = match get(context, grant, site, id, "cancel_command.id").await? {
        Ordered::One(kept) => vec![(kept.command.device, kept.command.id)],
        Ordered::Many(group, _) => {
            group.members().map(|(device, _)| (device.clone(), group.id.member(device))).collect()
        }
    };
    for (device, _) in &ids {
        if !grant.allows(Action::SendToDevice(&room, device)) {
            return Err(may_not_send("cancel_command.id", &format!("the device {device:?}, nor to take them back")));
        }
    }
    for (_, id) in &ids {
        context.desk.cancel(&room, id).await.map_err(|error| unavailable(&error))?;
    }
    get(context, grant, site, id, "cancel_command.id").await
}

/// All members of a group that the store has.
async fn members(context: &Context, room: &RoomId, group: &CommandId) -> Result<Vec<Kept>, RequestError> {
    let mut wanted = CommandsWanted { group: Some(group.clone()), max: MEMBERS_PAGE, ..CommandsWanted::default() };
    let mut members = Vec::new();
    loop {
        let page = context.desk.list(room, &wanted).await.map_err(|error| unavailable(&error))?;
        members.extend(page.commands);
        match page.next {
            Some(next) if members.len() < GROUP_MEMBERS_MAX => wanted.before = Some(next),
            Some(_) | None => return Ok(members),
        }
    }
}

fn many(id: &CommandId, members: &[Kept]) -> Result<Ordered, RequestError> {
    let group = group_of(id, members).map_err(|error| refused(&error.into()))?;
    let deadline = members.iter().map(|kept| kept.command.deadline).max();
    Ok(Ordered::Many(group, deadline.unwrap_or(UnixMicros(0))))
}

/// There is no device for an order of many.
fn nobody(send: &SendRequest) -> RequestError {
    let name = &send.draft.name;
    let (field, message) = match &send.target {
        Target::Tagged(tag) => {
            let list = "`lockgate devices SITE` lists the tags that there are";
            let tag = tag.as_str();
            ("send_command.tag", format!("no device of this site has the tag {tag:?} and takes {name:?}; {list}"))
        }
        Target::All | Target::Device(_) => {
            let list = "`lockgate describe SITE DEVICE` tells what a device takes";
            ("send_command.all", format!("no device of this site is known that takes {name:?}; {list}"))
        }
    };
    RequestError::new(wire::ErrorCode::NotFound, field, message)
}

/// What the desk did not take, told by the field at fault.
fn refused(error: &AcceptFailed) -> RequestError {
    use wire::ErrorCode::{Invalid, Limited, NotFound};
    let message = error.to_string();
    match error {
        AcceptFailed::Refused(AcceptError::IdTaken) | AcceptFailed::Group(GroupError::MemberId) => {
            RequestError::new(Invalid, "send_command.id", message)
        }
        AcceptFailed::Refused(AcceptError::DeadlinePassed | AcceptError::DeadlineTooFar) => {
            RequestError::new(Invalid, "send_command.deadline_us", message)
        }
        AcceptFailed::Group(GroupError::Empty) => RequestError::new(NotFound, "send_command", message),
        AcceptFailed::Group(GroupError::TooLarge { .. }) => RequestError::new(Limited, "send_command", message),
        AcceptFailed::Full => {
            let retry_after = Some(FULL_RETRY);
            RequestError { retry_after, ..RequestError::new(Limited, "", message) }
        }
        AcceptFailed::Backbone(error) => unavailable(error),
    }
}

/// The holder may see the commands of some device of the site.
fn may_list(grant: &Grant, room: &RoomId, field: &'static str) -> Result<(), RequestError> {
    if grant.allows(Action::ListCommands(room)) {
        return Ok(());
    }
    Err(may_not_see(field, &format!("commands of the site {:?}", room.site)))
}

fn may_not_see(field: &'static str, what: &str) -> RequestError {
    let message = format!(
        "the token does not allow to see {what}; it needs a scope telemetry:read:SITE/DEVICE or command:send:SITE/DEVICE \
         for it"
    );
    RequestError::new(wire::ErrorCode::Forbidden, field, message)
}

fn may_not_send(field: &'static str, whom: &str) -> RequestError {
    let message = format!(
        "the token does not allow to send commands to {whom}; it needs a scope command:send:SITE/DEVICE for it"
    );
    RequestError::new(wire::ErrorCode::Forbidden, field, message)
}

fn no_such_command(id: &CommandId, field: &'static str) -> RequestError {
    let message =
        format!("no command and no group {:?} is known in this site; `lockgate commands SITE` lists them", id.as_str());
    RequestError::new(wire::ErrorCode::NotFound, field, message)
}
