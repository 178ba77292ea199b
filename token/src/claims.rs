//! The claims as they stand in a token, to and from what they mean.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lockgate_proto::ids::{AgentName, Site, Tenant};
use lockgate_proto::limits::NAME_BYTES_MAX;
use lockgate_proto::time::UnixMicros;
use serde::{Deserialize, Serialize};

use crate::error::TokenError;
use crate::grant::{Grant, Identity};
use crate::scope::{Scope, ScopeError};

/// LIMIT: longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// LIMIT: most scopes in one token.
pub const SCOPES_MAX: usize = 64;

pub(crate) const AUDIENCE: &str = "lockgate";

const MICROS_PER_SECOND: i64 = 1_000_000;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    aud: String,
    /// Seconds, as RFC 7519 has them.
    iat: i64,
    exp: i64,
    /// Never written, but heeded: a token of someone else's making may be for later.
    #[serde(default, skip_serializing)]
    nbf: Option<i64>,
    jti: String,
    /// The tenant.
    ten: String,
    sub: String,
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    site: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    scope: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Agent,
    User,
}

/// What a token says, **without proof** that the gateways' key has signed it: for its holder, who has no key and
/// wants to know whether it is the right one. Says nothing of the time either.
pub fn read_unproven(token: &str) -> Result<Grant, TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong);
    }
    let [_header, payload, _signature] =
        <[&str; 3]>::try_from(token.split('.').collect::<Vec<_>>()).map_err(|_| TokenError::Malformed)?;
    let json = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenError::Malformed)?;
    let claims: Claims = serde_json::from_slice(&json).map_err(|_| TokenError::Malformed)?;
    if claims.aud == AUDIENCE { claims.check() } else { Err(TokenError::Audience) }
}

impl Claims {
    #[cfg(feature = "keys")]
    pub(crate) fn of(grant: &Grant) -> Claims {
        let (kind, site, scope) = match &grant.identity {
            Identity::Agent { site, .. } => (Kind::Agent, Some(site.as_str().to_owned()), Vec::new()),
            Identity::User { scopes, .. } => (Kind::User, None, scopes.iter().map(Scope::to_string).collect()),
        };
        Claims {
            aud: AUDIENCE.to_owned(),
            iat: grant.issued_at.0.div_euclid(MICROS_PER_SECOND),
            exp: grant.expires_at.0.div_euclid(MICROS_PER_SECOND),
            nbf: None,
            jti: grant.id.clone(),
            ten: grant.tenant.as_str().to_owned(),
            sub: grant.subject().to_owned(),
            kind,
            site,
            scope,
        }
    }

    /// When the token's time begins, where it says so.
    pub(crate) fn not_before(&self) -> Option<UnixMicros> {
        self.nbf.map(|seconds| UnixMicros(seconds.saturating_mul(MICROS_PER_SECOND)))
    }

    /// Checks all but the time.
    pub(crate) fn check(self) -> Result<Grant, TokenError> {
        let claim = |claim: &'static str| move |_| TokenError::Claim { claim };
        let identity = match self.kind {
            Kind::Agent => Identity::Agent {
                site: Site::new(self.site.ok_or(TokenError::Claim { claim: "site" })?).map_err(claim("site"))?,
                agent: AgentName::new(self.sub).map_err(claim("sub"))?,
            },
            Kind::User => Identity::User { name: user_name(self.sub)?, scopes: scopes(&self.scope)? },
        };
        if self.jti.is_empty() || self.jti.len() > NAME_BYTES_MAX {
            return Err(TokenError::Claim { claim: "jti" });
        }
        Ok(Grant {
            tenant: Tenant::new(self.ten).map_err(claim("ten"))?,
            identity,
            id: self.jti,
            issued_at: UnixMicros(self.iat.saturating_mul(MICROS_PER_SECOND)),
            expires_at: UnixMicros(self.exp.saturating_mul(MICROS_PER_SECOND)),
        })
    }
}

fn user_name(name: String) -> Result<String, TokenError> {
    // The rules of names hold for people too: what is logged and shown has no control characters.
    AgentName::new(&name).map_err(|_| TokenError::Claim { claim: "sub" })?;
    Ok(name)
}

fn scopes(texts: &[String]) -> Result<Vec<Scope>, TokenError> {
    if texts.len() > SCOPES_MAX {
        return Err(TokenError::Claim { claim: "scope" });
    }
    let mut scopes = Vec::with_capacity(texts.len());
    for text in texts {
        match text.parse() {
            Ok(scope) => scopes.push(scope),
            // A right of a later version: it allows nothing that this one could do.
            Err(ScopeError::UnknownRight { .. }) => {}
            Err(ScopeError::NoSite { .. } | ScopeError::Pattern { .. }) => {
                return Err(TokenError::Claim { claim: "scope" });
            }
        }
    }
    Ok(scopes)
}
