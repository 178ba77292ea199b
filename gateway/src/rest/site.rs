//! What is told of a site as a whole.

use axum::extract::State;

use super::asked::{Caller, In, site};
use super::document::Name;
use super::problem::Failures;
use super::query_logic::Query;
use super::{Answer, answer};
use crate::client_session::answer as answers;
use crate::context::Context;

/// Who is connected to a site: agents and people, over all gateways. For those who may see all of the site.
#[utoipa::path(
    get,
    path = "/v1/sites/{site}/presence",
    operation_id = "listPresence",
    tag = "site",
    params(("site" = inline(Name), Path, description = "The site")),
    responses((status = 200, description = "Who is there", body = ref("#/components/schemas/PresenceList")), Failures),
)]
pub(super) async fn presence(
    State(context): State<Context>,
    Caller(grant): Caller,
    In(of): In<String>,
    query: Query,
) -> Answer {
    let site = site(&of)?;
    query.finish()?;
    answer(&answers::presence(&*context.backbone, &grant, &site).await?)
}

/// What became of the records of each agent: produced = stored + lost + pending. For those who may see all of the site.
#[utoipa::path(
    get,
    path = "/v1/sites/{site}/loss",
    operation_id = "getLoss",
    tag = "site",
    params(("site" = inline(Name), Path, description = "The site")),
    responses((status = 200, description = "By agent", body = ref("#/components/schemas/LossReply")), Failures),
)]
pub(super) async fn loss(
    State(context): State<Context>,
    Caller(grant): Caller,
    In(of): In<String>,
    query: Query,
) -> Answer {
    let site = site(&of)?;
    query.finish()?;
    answer(&answers::loss(&*context.backbone, &grant, &site).await?)
}
