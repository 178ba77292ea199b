//! Who knocks at `/v1/edge`: the token of an agent, in the request itself.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use lockgate_proto::ids::AgentId;
use lockgate_proto::time::UnixMicros;
use lockgate_token::{Grant, SigningKey, TokenError};

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
}

/// The agent whose token the request carries.
pub(crate) fn agent(key: &SigningKey, headers: &HeaderMap, now: UnixMicros) -> Result<(AgentId, Grant), AuthError> {
    let token = headers.get(AUTHORIZATION).and_then(|value| bearer(value.to_str().ok()?)).ok_or(AuthError::NoToken)?;
    let grant = key.verify(token, now).map_err(AuthError::Token)?;
    let agent = grant.agent().ok_or(AuthError::NoAgent)?;
    Ok((agent, grant))
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
