//! Who knocks: the token in the request itself, of an agent at `/v1/edge`, of a person where pages are.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use lockgate_proto::ids::AgentId;
use lockgate_proto::time::UnixMicros;
use lockgate_token::{Grant, Identity, SigningKey, TokenError};

/// Why an agent is not let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// There is no header that could hold a token.
    #[error("no token; send the header `Authorization: Bearer TOKEN`")]
    NoToken,
    /// The token is not good, or not good any more.
    #[error("the token is refused: {0}")]
    Token(TokenError),
    /// The token is good, but of a person.
    #[error("this is a person's token; an agent needs one made for it")]
    NoAgent,
    /// The token is good, but of an agent.
    #[error("this is an agent's token; agents use /v1/edge")]
    NoPerson,
}

/// The agent whose token the request carries.
pub(crate) fn agent(key: &SigningKey, headers: &HeaderMap, now: UnixMicros) -> Result<(AgentId, Grant), AuthError> {
    let grant = grant(key, headers, now)?;
    let agent = grant.agent().ok_or(AuthError::NoAgent)?;
    Ok((agent, grant))
}

/// What the token of a person allows that the request carries.
pub(crate) fn person(key: &SigningKey, headers: &HeaderMap, now: UnixMicros) -> Result<Grant, AuthError> {
    let grant = grant(key, headers, now)?;
    match grant.identity {
        Identity::User { .. } => Ok(grant),
        Identity::Agent { .. } => Err(AuthError::NoPerson),
    }
}

fn grant(key: &SigningKey, headers: &HeaderMap, now: UnixMicros) -> Result<Grant, AuthError> {
    let token = headers.get(AUTHORIZATION).and_then(|value| bearer(value.to_str().ok()?)).ok_or(AuthError::NoToken)?;
    key.verify(token, now).map_err(AuthError::Token)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_may_be_written_in_any_case_and_no_other_is_taken() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("abc"), None);
    }
}
