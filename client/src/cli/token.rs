//! `lockgate token`: makes tokens with the gateway's key, where the key is.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use lockgate_proto::ids::{AgentName, Site, Tenant};
use lockgate_runtime::clock::Clock;
use lockgate_token::{Identity, KeyError, NewToken, Scope, SigningKey};

use super::CliError;
use super::args::duration;
use super::output::Lines;

/// Make a token, with the gateway's key.
#[derive(Args)]
pub(super) struct TokenArgs {
    #[command(subcommand)]
    whom: Whom,
}

#[derive(Subcommand)]
enum Whom {
    /// For a person, or a program of theirs
    User(UserArgs),
    /// For an agent, which may then feed one site
    Agent(AgentArgs),
}

#[derive(Args)]
struct UserArgs {
    /// The person's name
    name: String,
    /// May read all of this site; may be given several times. Without --site and --scope: of every site
    #[arg(long = "site", value_name = "SITE")]
    sites: Vec<Site>,
    /// May do this, such as telemetry:read:plant-1/pump-*; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// How long the token is good
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration)]
    ttl: Duration,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(Args)]
struct AgentArgs {
    /// The agent's name, unique in its site
    name: AgentName,
    /// The site that it feeds
    #[arg(long, value_name = "SITE")]
    site: Site,
    /// How long the token is good
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = duration)]
    ttl: Duration,
    #[command(flatten)]
    key: KeyArgs,
}

#[derive(Args)]
struct KeyArgs {
    /// The gateway's key file, which the gateway makes at its first start
    #[arg(long, value_name = "FILE", env = "LOCKGATE_KEY")]
    key: PathBuf,
    /// The owner of the sites
    #[arg(long, value_name = "TENANT", env = "LOCKGATE_TENANT")]
    tenant: Tenant,
}

pub(super) fn run(args: &TokenArgs) -> Result<(), CliError> {
    let (identity, ttl, key) = match &args.whom {
        Whom::User(user) => {
            let mut scopes = user.scopes.clone();
            scopes.extend(user.sites.iter().map(|site| Scope::read_site(site.as_str())));
            if scopes.is_empty() {
                scopes.push(Scope::read_all());
            }
            (Identity::User { name: user.name.clone(), scopes }, user.ttl, &user.key)
        }
        Whom::Agent(agent) => {
            let identity = Identity::Agent { site: agent.site.clone(), agent: agent.name.clone() };
            (identity, agent.ttl, &agent.key)
        }
    };
    if ttl < Duration::from_secs(1) {
        return Err(CliError::Usage("--ttl must be at least 1s".to_owned()));
    }
    let token = NewToken { tenant: key.tenant.clone(), identity, ttl };
    let minted = SigningKey::load(&key.key)?.mint(&token, Clock::system().wall())?;
    let mut lines = Lines::default();
    lines.text(minted);
    lines.write()
}

/// What is wrong with the key file, for somebody who may have named the wrong one.
pub(super) fn key_fault(error: &KeyError) -> String {
    match error {
        KeyError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => format!(
            "{error}; the gateway makes it at its first start, as token.key in its data folder: \
             is the gateway running, and is this its folder?"
        ),
        // Who makes a token is not to delete a key: all tokens made with it would be worth nothing.
        KeyError::OpenToOthers { path, mode } => format!(
            "the key file \"{}\" is open to others (mode {mode:03o}): is this the gateway's key file? \
             If so, make it its owner's alone with `chmod 600`",
            path.display()
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_names_the_wrong_key_file_is_told_where_the_right_one_is() {
        let path = PathBuf::from("/nowhere/token.key");
        let missing = KeyError::Read { path: path.clone(), source: io::ErrorKind::NotFound.into() };
        assert!(key_fault(&missing).ends_with("is the gateway running, and is this its folder?"));
        let open = key_fault(&KeyError::OpenToOthers { path, mode: 0o644 });
        assert!(open.contains("is this the gateway's key file?") && !open.contains("delete"), "{open}");
    }
}
