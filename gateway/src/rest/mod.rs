//! Pages under `/v1`: what is no stream, for any tool that speaks HTTP.
//!
//! The questions are answered by the same code as those of the client link, and in the same JSON. `query_logic`
//! reads what stands behind a path's question mark, `order_logic` what is ordered, `asked` who asks and for what, `problem` says what is wrong,
//! `guard` bounds and counts. `document` is the OpenAPI document, made of the handlers themselves.

mod asked;
mod document;
mod guard;
mod order_logic;
mod problem;
mod query_logic;

mod commands;
mod devices;
mod history;
mod site;

use axum::Router;
use axum::body::Body;
use axum::middleware;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use lockgate_proto::limits::SERVER_MESSAGE_BYTES_MAX;
use lockgate_proto::wire;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::client_session::request::RequestError;
use crate::context::Context;
use guard::Guard;
use problem::Problem;

/// All pages of people.
pub(crate) fn router(context: Context) -> Router {
    let (router, _) = pages().split_for_parts();
    router
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(middleware::from_fn_with_state(Guard::new(), guard::watch))
        .with_state(context)
}

/// The pages, with what the document says of each.
fn pages() -> OpenApiRouter<Context> {
    OpenApiRouter::with_openapi(document::frame())
        .routes(routes!(devices::list))
        .routes(routes!(devices::one))
        .routes(routes!(history::read))
        .routes(routes!(commands::list))
        .routes(routes!(commands::get))
        .routes(routes!(commands::send))
        .routes(routes!(commands::cancel))
        .routes(routes!(site::presence))
        .routes(routes!(site::loss))
        .routes(routes!(document::openapi))
}

/// What is answered where all is well.
type Answer = Result<Response<Body>, Problem>;

/// A message as it is in the client link's JSON.
fn answer(message: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(message).expect("all that JSON can't say is an enum that this version does not know");
    if body.len() > SERVER_MESSAGE_BYTES_MAX {
        let message = "the answer is too large; ask for less at a time, by limit or by filters";
        return Err(RequestError::new(wire::ErrorCode::Limited, "", message).into());
    }
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
