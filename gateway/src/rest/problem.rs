//! What is wrong, in the form of RFC 9457, with the field at fault and what mends it.

use std::time::Duration;

use axum::body::Body;
use axum::response::IntoResponse;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use lockgate_proto::wire;
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::auth::AuthError;
use crate::client_session::request::RequestError;

/// Why there is no answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The status in words.
    title: &'static str,
    /// What is wrong, and what mends it.
    detail: String,
    /// The parameter or the part of the body that is at fault, as a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Trying again after so many milliseconds may succeed. Left out: without change it is of no use.
    #[serde(rename = "retryAfterMs", skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
}

/// The answers that any page may give instead of its own.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it is only read by the macro that makes the document")]
pub(super) enum Failures {
    /// A parameter or the body is wrong
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(#[to_schema] Problem),
    /// There is no token, or it is not good
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] Problem),
    /// The token does not allow it
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] Problem),
    /// There is no such thing
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] Problem),
    /// The answer would be too large, or too much is asked
    #[response(status = 429, content_type = "application/problem+json")]
    Limited(#[to_schema] Problem),
    /// The gateway is at fault
    #[response(status = 500, content_type = "application/problem+json")]
    Fault(#[to_schema] Problem),
    /// The store can't be reached, or the gateway has too much to do; `Retry-After` says when to come back
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] Problem),
}

impl Problem {
    pub(super) fn new(status: StatusCode, field: &str, detail: impl Into<String>) -> Problem {
        Problem {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Error"),
            detail: detail.into(),
            field: (!field.is_empty()).then(|| field.to_owned()),
            retry_after_ms: None,
        }
    }

    /// A parameter, or a part of the body, that is none.
    pub(super) fn invalid(field: &str, detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, field, detail)
    }

    /// The same of another field.
    pub(super) fn of(self, field: &str) -> Problem {
        Problem { field: Some(field.to_owned()), ..self }
    }

    /// Whether it is this field that is at fault.
    pub(super) fn is_of(&self, field: &str) -> bool {
        self.field.as_deref() == Some(field)
    }

    /// The same with another status.
    pub(super) fn with_status(self, status: StatusCode) -> Problem {
        let title = status.canonical_reason().unwrap_or("Error");
        Problem { status: status.as_u16(), title, ..self }
    }

    /// Not now, but later.
    pub(super) fn later(detail: impl Into<String>, after: Duration) -> Problem {
        let retry_after_ms = Some(u32::try_from(after.as_millis()).unwrap_or(u32::MAX));
        Problem { retry_after_ms, ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "", detail) }
    }
}

/// What a question of the client link is refused with. There, a field stands in a request of its own name.
impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Problem {
        let status = match error.code {
            wire::ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
            wire::ErrorCode::Forbidden => StatusCode::FORBIDDEN,
            wire::ErrorCode::Invalid => StatusCode::BAD_REQUEST,
            wire::ErrorCode::NotFound => StatusCode::NOT_FOUND,
            wire::ErrorCode::Limited => StatusCode::TOO_MANY_REQUESTS,
            wire::ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            wire::ErrorCode::Unspecified => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let field = error.field.split_once('.').map_or(&*error.field, |(_, field)| field);
        let retry_after_ms = error.retry_after.map(|after| u32::try_from(after.as_millis()).unwrap_or(u32::MAX));
        Problem { retry_after_ms, ..Problem::new(status, field, error.message) }
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Problem {
        Problem::new(StatusCode::UNAUTHORIZED, "authorization", error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let body = serde_json::to_vec(&self).expect("texts and numbers are JSON");
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(millis) = self.retry_after_ms {
            // The header has whole seconds only.
            headers.insert(RETRY_AFTER, HeaderValue::from(millis.div_ceil(1_000).max(1)));
        }
        response
    }
}

/// A page, asked for by a method that it does not have; the answer says which it has.
pub(super) async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "",
        "this page does not know that method; the header Allow names those it does",
    )
}
