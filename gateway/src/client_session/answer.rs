//! Answers to questions about a site: its devices, a shadow, what was lost. Whoever asks, over whichever door.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::convert::{gap_to_wire, reason_to_wire};
use lockgate_proto::gap::GapReason;
use lockgate_proto::ids::{AgentName, DeviceName, RoomId, Site};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::wire;
use lockgate_token::{Action, Grant};

use crate::backbone::{Backbone, BackboneError, PageWanted};
use crate::client_session::filter::Filter;
use crate::client_session::reply;
use crate::client_session::request::{Page, RequestError};
use crate::context::Context;
use crate::metrics::Counter;

/// What a client is told to wait before it asks a backbone again that could not answer.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Most gaps that are told of one agent, the newest; the sums count all of them.
const GAPS_TOLD_MAX: usize = 1_000;

/// Turns what the backbone could not do into what the client is told.
pub(crate) fn unavailable(error: &BackboneError) -> RequestError {
    Counter::BackboneFailures.tick();
    RequestError::unavailable(error.to_string(), ASK_AGAIN_AFTER)
}

/// The room of a site, if something of it may be seen.
pub(crate) fn enter(grant: &Grant, site: &Site, field: &'static str) -> Result<RoomId, RequestError> {
    let room = grant.room(site.clone());
    if grant.allows(Action::EnterRoom(&room)) { Ok(room) } else { Err(forbidden(field, &format!("the site {site:?}"))) }
}

pub(crate) fn forbidden(field: &'static str, what: &str) -> RequestError {
    let message = format!("the token does not allow to see {what}; it needs a scope telemetry:read:SITE/DEVICE for it");
    RequestError::new(wire::ErrorCode::Forbidden, field, message)
}

fn may_see(grant: &Grant, room: &RoomId, device: &DeviceName, field: &'static str) -> Result<(), RequestError> {
    if grant.allows(Action::ReadDevice(room, device)) {
        return Ok(());
    }
    Err(forbidden(field, &format!("the device {device:?}")))
}

/// Some answers are of a site as a whole.
fn whole(grant: &Grant, room: &RoomId, field: &'static str, what: &str) -> Result<(), RequestError> {
    if grant.allows(Action::ReadRoom(room)) {
        return Ok(());
    }
    let site = &room.site;
    let message = format!(
        "the token does not allow to see all of the site {site:?}, and so not {what}; it needs a scope telemetry:read:SITE \
         for it, without devices"
    );
    Err(RequestError::new(wire::ErrorCode::Forbidden, field, message))
}

pub(crate) async fn devices(
    context: &Context,
    grant: &Arc<Grant>,
    site: &Site,
    page: Page,
) -> Result<wire::DeviceList, RequestError> {
    let (backbone, room) = (&context.backbone, enter(grant, site, "list_devices.site")?);
    let (visible, _) = Filter::default().within(grant, &room).tests();
    let wanted =
        PageWanted { devices: visible, tag: page.tag, after: page.after, count_max: page.limit.unwrap_or(usize::MAX) };
    let devices = backbone.page(&room, wanted).await.map_err(|error| unavailable(&error))?;
    let here = if context.config.presence.agents {
        Some(backbone.present(&room).await.map_err(|error| unavailable(&error))?)
    } else {
        None
    };
    Ok(reply::device_list(site, devices, here.as_deref()))
}

pub(crate) async fn presence(
    backbone: &dyn Backbone,
    grant: &Grant,
    site: &Site,
) -> Result<wire::PresenceList, RequestError> {
    let room = enter(grant, site, "list_presence.site")?;
    whole(grant, &room, "list_presence.site", "who is there")?;
    let present = backbone.present(&room).await.map_err(|error| unavailable(&error))?;
    Ok(reply::presence_list(site, present))
}

pub(crate) async fn shadow(
    backbone: &dyn Backbone,
    grant: &Grant,
    site: &Site,
    device: &DeviceName,
) -> Result<wire::ShadowReply, RequestError> {
    let room = enter(grant, site, "get_shadow.site")?;
    may_see(grant, &room, device, "get_shadow.device")?;
    let (at, shadow) = backbone.shadow(&room, device).await.map_err(|error| unavailable(&error))?;
    shadow
        .map(|shadow| reply::shadow_reply(site, at, shadow))
        .ok_or_else(|| reply::no_such_device(device, "get_shadow.device"))
}

pub(crate) async fn description(
    backbone: &dyn Backbone,
    grant: &Grant,
    site: &Site,
    device: &DeviceName,
) -> Result<wire::DescriptionReply, RequestError> {
    const FIELD: &str = "describe_device.device";
    let room = enter(grant, site, "describe_device.site")?;
    may_see(grant, &room, device, FIELD)?;
    let description = backbone.description(&room, device).await.map_err(|error| unavailable(&error))?;
    if description.is_none() {
        let (_, shadow) = backbone.shadow(&room, device).await.map_err(|error| unavailable(&error))?;
        shadow.ok_or_else(|| reply::no_such_device(device, FIELD))?;
    }
    Ok(reply::description_reply(site, description.as_ref()))
}

pub(crate) async fn loss(backbone: &dyn Backbone, grant: &Grant, site: &Site) -> Result<wire::LossReply, RequestError> {
    let room = enter(grant, site, "get_loss.site")?;
    // Records are lost before anyone knows of which device they were.
    whole(grant, &room, "get_loss.site", "what its agents lost")?;
    let ledgers = backbone.ledgers(&room).await.map_err(|error| unavailable(&error))?;
    let agents = ledgers.iter().map(|(agent, ledger)| agent_loss(agent, ledger)).collect();
    Ok(wire::LossReply { site: site.as_str().to_owned(), agents })
}

fn agent_loss(agent: &AgentName, ledger: &Ledger) -> wire::AgentLoss {
    let totals = ledger.totals();
    let lost = GapReason::ALL.into_iter().map(|reason| (reason, totals.lost_to(reason)));
    let gaps = ledger.gaps();
    let told = gaps.len().saturating_sub(GAPS_TOLD_MAX);
    wire::AgentLoss {
        agent: agent.as_str().to_owned(),
        produced: totals.produced,
        stored: totals.stored,
        lost: lost
            .filter(|(_, lost)| lost.records > 0 || lost.unbounded > 0)
            .map(|(reason, lost)| wire::LossByReason {
                reason: reason_to_wire(reason),
                records: lost.records,
                unbounded: lost.unbounded,
            })
            .collect(),
        pending: totals.pending,
        gaps: gaps[told..].iter().map(|gap| gap_to_wire(gap, Some(agent))).collect(),
    }
}
