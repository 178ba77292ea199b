//! Commands: ordered, looked at, waited for, taken back.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode};
use lockgate_proto::command::CommandId;
use lockgate_proto::ids::{DeviceName, Site, UserName};
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body as Told;
use lockgate_token::Grant;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::Instant;

use super::asked::{Caller, In, json, name, site};
use super::document::{CommandKey, Name, NewKey};
use super::guard::Waits;
use super::order_logic::{NewCommand, span};
use super::problem::{Failures, Problem};
use super::query_logic::Query;
use super::{Answer, answer};
use crate::client_session::orders::{self, Ordered, Whom};
use crate::client_session::request::orders as requests;
use crate::client_session::request::{OrderRequest, SendRequest};
use crate::commands::Followed;
use crate::context::Context;
use crate::limits::REST_WAIT_MAX;

/// The header that names a command.
const KEY: &str = "idempotency-key";

/// The commands of a site, the newest first, as far as the token lets see them.
#[utoipa::path(
    get,
    path = "/v1/sites/{site}/commands",
    operation_id = "listCommands",
    tag = "commands",
    params(
        ("site" = inline(Name), Path, description = "The site"),
        ("device" = Option<String>, Query, description = "Only those of this device"),
        ("state" = Option<String>, Query, description = "Only those in this state or with this outcome; `open`: those that have not ended"),
        ("group" = Option<String>, Query, description = "Only those of this group"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "Most commands of the page", minimum = 1, maximum = 100),
    ),
    responses((status = 200, description = "A page of commands", body = ref("#/components/schemas/CommandList")), Failures),
)]
pub(super) async fn list(
    State(context): State<Context>,
    Caller(grant): Caller,
    In(of): In<String>,
    mut query: Query,
) -> Answer {
    let site = site(&of)?;
    let text = |query: &mut Query, name| Ok::<_, Problem>(query.one::<String>(name)?.unwrap_or_default());
    let asked = wire::ListCommands {
        site: of,
        device: text(&mut query, "device")?,
        state: text(&mut query, "state")?,
        group: text(&mut query, "group")?,
        after: text(&mut query, "after")?,
        limit: match query.one::<u32>("limit")? {
            Some(limit) if !(1..=100).contains(&limit) => {
                return Err(Problem::invalid("limit", format!("limit is {limit}; it may be from 1 to 100")));
            }
            limit => limit.unwrap_or_default(),
        },
    };
    query.finish()?;
    let OrderRequest::List(_, page) = requests::list(&asked)? else { return Err(fault()) };
    answer(&orders::list(&context, &grant, &site, page).await?)
}

/// Where a command stands, or how many of a group stand where.
///
/// With `wait`, the answer comes when nobody need wait for it any longer, or when so much time has passed; then ask again.
#[utoipa::path(
    get,
    path = "/v1/sites/{site}/commands/{id}",
    operation_id = "getCommand",
    tag = "commands",
    params(
        ("site" = inline(Name), Path, description = "The site"),
        ("id" = inline(CommandKey), Path, description = "The command, or the group"),
        ("wait" = Option<String>, Query, description = "So long, at most 30s", pattern = "^[0-9]{1,5} ?(ms|s)$", example = "30s"),
    ),
    responses((status = 200, description = "Where it stands", body = ref("#/components/schemas/CommandOrGroup")), Failures),
)]
pub(super) async fn get(
    State(context): State<Context>,
    Caller(grant): Caller,
    Extension(waits): Extension<Waits>,
    In((of, id)): In<(String, String)>,
    mut query: Query,
) -> Answer {
    let (site, id) = (site(&of)?, command_id("id", &id)?);
    let wait = query.one::<String>("wait")?.map(|text| span("wait", &text)).transpose()?.unwrap_or_default();
    query.finish()?;
    if wait > REST_WAIT_MAX {
        let detail = format!("wait is {} s; it may be up to {} s", wait.as_secs(), REST_WAIT_MAX.as_secs());
        return Err(Problem::invalid("wait", detail));
    }
    let mut ordered = orders::get(&context, &grant, &site, &id, "id").await?;
    if !wait.is_zero() && !ordered.is_over()
        // Where too many wait already, the answer is how it stands.
        && let Ok(_place) = waits.0.try_acquire()
    {
        ordered = over(&context, &grant, &site, &id, wait).await?;
    }
    told(ordered.body(&site))
}

/// How it stands when nobody need wait any longer, or when the time is over, or the gateway stops.
async fn over(
    context: &Context,
    grant: &Grant,
    site: &Site,
    id: &CommandId,
    wait: Duration,
) -> Result<Ordered, Problem> {
    let until = Instant::now() + wait;
    // Before it is asked how it stands: so nothing is between the two.
    let mut follow = context.desk.follow(&grant.room(site.clone()));
    loop {
        let ordered = orders::get(context, grant, site, id, "id").await?;
        if ordered.is_over() {
            return Ok(ordered);
        }
        loop {
            let heard = tokio::select! {
                biased;
                () = context.drain.cancelled() => return Ok(ordered),
                () = tokio::time::sleep_until(until) => return Ok(ordered),
                // CANCEL-SAFE: it is given up for good.
                heard = follow.next() => heard,
            };
            match heard {
                Followed::Update(update) if update.progress.is_none() && is_of(&update.id, id) => break,
                Followed::Update(_) => {}
                Followed::Lagged => break,
            }
        }
    }
}

/// Whether a command is this one, or one of this group.
fn is_of(command: &CommandId, id: &CommandId) -> bool {
    command == id || command.as_str().split_once('/').is_some_and(|(group, _)| group == id.as_str())
}

/// Tells a device to do something.
///
/// The header `Idempotency-Key` is the command's id, chosen by whom orders: the same request again, where an answer got
/// lost, is the same command, and its present state is the answer. Where the device is described, the arguments are
/// checked, and those that are not given get their defaults.
#[utoipa::path(
    post,
    path = "/v1/sites/{site}/devices/{device}/commands",
    operation_id = "sendCommand",
    tag = "commands",
    params(
        ("site" = inline(Name), Path, description = "The site"),
        ("device" = inline(Name), Path, description = "The device"),
        ("Idempotency-Key" = inline(NewKey), Header, description = "The command's id, unique in the site: 1 to 64 printable bytes without a slash"),
    ),
    request_body(content = NewCommand, content_type = "application/json"),
    responses(
        (status = 202, description = "It is stored; `Location` says where to ask what becomes of it", body = ref("#/components/schemas/CommandStatus"),
            headers(("location" = String, description = "The command's page"))),
        (status = 408, description = "The body did not come in time", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another command has this id", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not said to be JSON", body = Problem, content_type = "application/problem+json"),
        Failures,
    ),
)]
pub(super) async fn send(
    State(context): State<Context>,
    Caller(grant): Caller,
    In((of, device)): In<(String, String)>,
    query: Query,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (site, device) = (site(&of)?, name::<DeviceName>("device", &device)?);
    query.finish()?;
    let key = key(&headers)?;
    let ordered: NewCommand = json(&headers, body).await?;
    let (ordered, deadline) = ordered.order(&site, &device, &key, context.desk.now())?;
    let order = requests::send(ordered).map_err(|error| renamed(error.into()))?;
    let OrderRequest::Send(send) = order else { return Err(fault()) };
    let command = permitted(&context, &grant, &send).await?;
    let kept = orders::accept_one(&context, &grant.room(site.clone()), command, deadline).await.map_err(|error| {
        let problem = renamed(error.into());
        // Whatever is wrong with an id as such was told before.
        if problem.is_of(KEY) { problem.with_status(StatusCode::CONFLICT) } else { problem }
    })?;
    let path = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let location = format!("/v1/sites/{}/commands/{}", path(site.as_str()), path(kept.command.id.as_str()));
    let mut response = told(Ordered::One(Box::new(kept)).body(&site))?;
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(&location).map_err(|_| fault())?);
    Ok(response)
}

/// The command, if the holder of the token may order it.
async fn permitted(
    context: &Context,
    grant: &Arc<Grant>,
    send: &SendRequest,
) -> Result<lockgate_proto::command::Command, Problem> {
    let Whom::One(device) = orders::whom(context, grant, send).await? else { return Err(fault()) };
    let sender = UserName::new(grant.subject()).map_err(|error| {
        Problem::new(
            StatusCode::FORBIDDEN,
            "authorization",
            format!("the name in the token {error}; commands are kept by it"),
        )
    })?;
    Ok(send.draft.command(device, sender))
}

/// Takes a command back, or all of a group. Where its bytes may have left, its agent is asked; ask again for what it says.
#[utoipa::path(
    post,
    path = "/v1/sites/{site}/commands/{id}/cancel",
    operation_id = "cancelCommand",
    tag = "commands",
    params(("site" = inline(Name), Path, description = "The site"), ("id" = inline(CommandKey), Path, description = "The command, or the group")),
    responses((status = 200, description = "Where it stands now", body = ref("#/components/schemas/CommandOrGroup")), Failures),
)]
pub(super) async fn cancel(
    State(context): State<Context>,
    Caller(grant): Caller,
    In((of, id)): In<(String, String)>,
    query: Query,
) -> Answer {
    let (site, id) = (site(&of)?, command_id("id", &id)?);
    query.finish()?;
    told(orders::cancel(&context, &grant, &site, &id).await?.body(&site))
}

fn key(headers: &HeaderMap) -> Result<String, Problem> {
    let mut keys = headers.get_all(KEY).iter();
    match (keys.next().map(|key| std::str::from_utf8(key.as_bytes())), keys.next()) {
        (Some(Ok(key)), None) => Ok(key.to_owned()),
        (None, _) => {
            let detail = "there is no Idempotency-Key, which is the command's id; choose one that is new in the site, such as a UUID";
            Err(Problem::invalid(KEY, detail))
        }
        (Some(_), _) => Err(Problem::invalid(KEY, "Idempotency-Key is no UTF-8, or given twice; give it once")),
    }
}

fn command_id(field: &str, text: &str) -> Result<CommandId, Problem> {
    CommandId::new(text).map_err(|error| Problem::invalid(field, format!("the id {error}")))
}

/// Fields as they are called here.
fn renamed(problem: Problem) -> Problem {
    match () {
        () if problem.is_of("id") => problem.of(KEY),
        () if problem.is_of("deadline_us") => problem.of("deadlineUs"),
        () => problem,
    }
}

fn told(body: Told) -> Answer {
    match body {
        Told::Command(status) => answer(&status),
        Told::Group(status) => answer(&status),
        _ => Err(fault()),
    }
}

fn fault() -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "", "the gateway is at fault; please report it")
}
