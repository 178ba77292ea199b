//! Who asks, and for what: each part of a request is checked, and what is wrong with it told by its name.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use lockgate_proto::ids::Site;
use lockgate_token::Grant;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use super::query_logic::Query;
use crate::auth;
use crate::context::Context;
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
