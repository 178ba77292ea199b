//! What the agent's token says, as far as that can be known without the key: whether it is one for this agent, now.

use lockgate_proto::time::UnixMicros;
use lockgate_token::{Grant, Identity, TokenError, read_unproven};

use super::{AgentConfig, Config, Secret, SecretError};
use crate::time::{FLOOR, iso};

/// Why a gateway will not let the agent in with its token. Reads after the key's name.
#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    /// It can't be had.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It is none.
    #[error("{0}; {1}")]
    NoToken(TokenError, String),
    /// It lets somebody read, and nobody feed.
    #[error("this is the token of the user {user:?}, and an agent needs one of its own; {fix}")]
    OfUser {
        /// Whose it is.
        user: String,
        /// How to get the right one.
        fix: String,
    },
    /// It is for another agent, or for one of the same name elsewhere.
    #[error("this is the token of agent {agent} of site {site}, and this is agent {ours}; {fix}")]
    OfOther {
        /// Whose it is.
        agent: String,
        /// Of which site.
        site: String,
        /// What `agent.name` and `agent.site` say.
        ours: String,
        /// How to get the right one.
        fix: String,
    },
    /// Its time is over.
    #[error("the token has expired at {}; {fix}", iso(*.at))]
    Expired {
        /// When.
        at: UnixMicros,
        /// How to get a new one.
        fix: String,
    },
    /// Its time is still to come.
    #[error("the token was made at {}, which is still to come by this machine's clock; is the clock right?", iso(*.at))]
    NotYet {
        /// When it was made.
        at: UnixMicros,
    },
}

/// Reads the token. What it says is not proven: only a gateway can do that.
pub fn look_at_token(config: &Config, now: UnixMicros) -> Result<Grant, TokenFault> {
    let token = config.uplink.token.reveal()?;
    let grant = read_unproven(&token).map_err(|error| TokenFault::NoToken(error, fix(&config.agent, "TENANT")))?;
    let fix = || fix(&config.agent, grant.tenant.as_str());
    match &grant.identity {
        Identity::User { name, .. } => return Err(TokenFault::OfUser { user: name.clone(), fix: fix() }),
        Identity::Agent { site, agent } if *site != config.agent.site || *agent != config.agent.name => {
            let ours = format!("{} of site {}", config.agent.name, config.agent.site);
            return Err(TokenFault::OfOther { agent: agent.to_string(), site: site.to_string(), ours, fix: fix() });
        }
        Identity::Agent { .. } => {}
    }
    // A board that has no clock can't judge: it dates by its gateway, once that has let it in.
    if now >= FLOOR && grant.is_expired(now) {
        return Err(TokenFault::Expired { at: grant.expires_at, fix: fix() });
    }
    if now >= FLOOR && now < grant.issued_at {
        return Err(TokenFault::NotYet { at: grant.issued_at });
    }
    Ok(grant)
}

/// The key of the configuration that the token is told by.
pub(super) fn key(token: &Secret) -> &'static str {
    match token {
        Secret::Text(_) => "uplink.token",
        Secret::File(_) => "uplink.token_file",
    }
}

fn fix(agent: &AgentConfig, tenant: &str) -> String {
    let AgentConfig { name, site, .. } = agent;
    let make = format!("lockgate token agent {name} --site {site} --tenant {tenant} --key token.key");
    format!("make one where the gateway has its key: `{make}`")
}
