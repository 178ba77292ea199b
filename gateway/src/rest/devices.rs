//! The devices of a site, and one of them.

use axum::extract::State;
use lockgate_proto::ids::{DeviceName, Tag};
use lockgate_proto::wire;

use super::asked::{Caller, In, name, site};
use super::document::Name;
use super::problem::{Failures, Problem};
use super::query_logic::Query;
use super::{Answer, answer};
use crate::client_session::answer as answers;
use crate::client_session::request::{DEVICES_PAGE_MAX, Page};
use crate::context::Context;

/// Devices of a page where the request does not say.
const PAGE: usize = 100;

/// The devices of a site, by name, as far as the token lets see them.
#[utoipa::path(
    get,
    path = "/v1/sites/{site}/devices",
    operation_id = "listDevices",
    tag = "devices",
    params(
        ("site" = inline(Name), Path, description = "The site"),
        ("after" = Option<String>, Query, description = "Only devices whose names follow this one: `next` of the page before"),
        ("limit" = Option<u32>, Query, description = "Most devices of the page; 100, unless it is given", minimum = 1, maximum = 1000),
        ("tag" = Option<String>, Query, description = "Only devices that have this tag"),
    ),
    responses((status = 200, description = "A page of devices", body = ref("#/components/schemas/DeviceList")), Failures),
)]
pub(super) async fn list(
    State(context): State<Context>,
    Caller(grant): Caller,
    In(of): In<String>,
    mut query: Query,
) -> Answer {
    let site = site(&of)?;
    let (after, tag) = (query.one::<DeviceName>("after")?, query.one::<Tag>("tag")?);
    let limit = match query.one::<usize>("limit")? {
        Some(limit) if limit == 0 || limit > DEVICES_PAGE_MAX => {
            return Err(Problem::invalid("limit", format!("limit is {limit}; it may be from 1 to {DEVICES_PAGE_MAX}")));
        }
        limit => limit.unwrap_or(PAGE),
    };
    query.finish()?;
    answer(&answers::devices(&context, &grant, &site, Page { after, limit: Some(limit), tag }).await?)
}

/// One device: its last known values, what it measures, and what it can be told to do.
#[utoipa::path(
    get,
    path = "/v1/sites/{site}/devices/{device}",
    operation_id = "getDevice",
    tag = "devices",
    params(("site" = inline(Name), Path, description = "The site"), ("device" = inline(Name), Path, description = "The device")),
    responses((status = 200, description = "The device", body = ref("#/components/schemas/DeviceReply")), Failures),
)]
pub(super) async fn one(
    State(context): State<Context>,
    Caller(grant): Caller,
    In((of, device)): In<(String, String)>,
    query: Query,
) -> Answer {
    let (site, device) = (site(&of)?, name::<DeviceName>("device", &device)?);
    query.finish()?;
    let backbone = &*context.backbone;
    let wire::ShadowReply { site: of, shadow, position } = answers::shadow(backbone, &grant, &site, &device).await?;
    let wire::DescriptionReply { description, .. } = answers::description(backbone, &grant, &site, &device).await?;
    answer(&wire::DeviceReply { site: of, shadow, position, description })
}
