//! Who asks, and for what: each part of a request is checked, and what is wrong with it told by its name.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use lockgate_proto::ids::Site;
use lockgate_token::Grant;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::query_logic::Query;
use crate::auth;
use crate::context::Context;
use crate::limits::{REST_BODY_BYTES_MAX, REST_BODY_TIMEOUT};
use crate::server::Visit;

/// The holder of a good token of a person.
pub(super) struct Caller(pub(super) Arc<Grant>);

impl FromRequestParts<Context> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, context: &Context) -> Result<Caller, Problem> {
        let grant = auth::person(&context.key, &parts.headers, context.clock.wall())?;
        if let Some(visit) = parts.extensions.get::<Visit>() {
            visit.slot.authenticated();
        }
        Ok(Caller(Arc::new(grant)))
    }
}

/// The names in the path, as texts.
pub(super) struct In<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for In<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<In<T>, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(In(names)),
            Err(refused) => Err(Problem::invalid("path", refused.body_text())),
        }
    }
}

/// What stands behind the question mark.
impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query, Problem> {
        Query::read(parts.uri.query().unwrap_or_default())
    }
}

/// A body in JSON.
pub(super) async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let detail = "the body must be JSON; send the header `Content-Type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", detail));
    }
    let bytes = tokio::time::timeout(REST_BODY_TIMEOUT, axum::body::to_bytes(body, REST_BODY_BYTES_MAX)).await;
    let Ok(bytes) = bytes else {
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "", "the body did not come in time; send it again"));
    };
    let bytes = bytes.map_err(|error| {
        // It is too large, or the connection is lost; then nobody reads this.
        let detail = format!("the body can't be read ({error}); at most {REST_BODY_BYTES_MAX} bytes are allowed");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "", detail)
    })?;
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        Problem::invalid(if field == "." { "" } else { &field }, format!("the body: {}", error.inner()))
    })?;
    reader.end().map_err(|error| Problem::invalid("", format!("the body: {error}")))?;
    Ok(read)
}

/// The site of a path.
pub(super) fn site(text: &str) -> Result<Site, Problem> {
    name("site", text)
}

/// A name of a path.
pub(super) fn name<N: std::str::FromStr<Err = lockgate_proto::ids::NameError>>(
    field: &str,
    text: &str,
) -> Result<N, Problem> {
    text.parse().map_err(|error| Problem::invalid(field, format!("the name {error}")))
}
