//! `lockgate token`: makes tokens with the gateway's key, where the key is.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use lockgate_proto::ids::{AgentName, Site, Tenant};
use lockgate_runtime::clock::Clock;
use lockgate_token::{Identity, KeyError, NewToken, Right, Scope, SigningKey};

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
    /// May also send commands to all that it may read by --site; without --site and --scope: to every site
    #[arg(long)]
    send: bool,
    /// May do this, such as telemetry:read:plant-1/pump-* or command:send:plant-1/pump-*; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
    /// How long the token is good
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration)]
    ttl: Duration,
    #[command(flatten)]
    key: KeyArgs,
}

impl UserArgs {
    fn scopes(&self) -> Result<Vec<Scope>, CliError> {
        if self.send && self.sites.is_empty() && !self.scopes.is_empty() {
            let text =
                "--send goes with --site; say with --scope command:send:SITE/DEVICE to whom commands may be sent";
            return Err(CliError::Usage(text.to_owned()));
        }
        let rights = if self.send { &Right::ALL[..] } else { &[Right::TelemetryRead] };
        let mut scopes = self.scopes.clone();
        for right in rights {
            scopes.extend(self.sites.iter().map(|site| Scope::site(*right, site.as_str())));
        }
        if scopes.is_empty() {
            scopes.extend(rights.iter().map(|right| Scope::all(*right)));
        }
        Ok(scopes)
    }
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
            let identity = Identity::User { name: user.name.clone(), scopes: user.scopes()? };
            (identity, user.ttl, &user.key)
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
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        token: TokenArgs,
    }

    fn scopes(typed: &[&str]) -> Result<Vec<String>, String> {
        let words = ["lockgate", "user", "ann", "--key", "k", "--tenant", "acme"].iter().chain(typed);
        let Whom::User(user) = Typed::try_parse_from(words).map_err(|error| error.to_string())?.token.whom else {
            panic!("a user was typed")
        };
        let scopes = user.scopes().map_err(|error| error.to_string())?;
        Ok(scopes.iter().map(Scope::to_string).collect())
    }

    #[test]
    fn commands_are_sent_only_by_who_is_said_to() {
        assert_eq!(scopes(&[]).unwrap(), ["telemetry:read:*/*"]);
        assert_eq!(scopes(&["--send"]).unwrap(), ["telemetry:read:*/*", "command:send:*/*"]);
        assert_eq!(scopes(&["--site", "a"]).unwrap(), ["telemetry:read:a/*"]);
        assert_eq!(scopes(&["--send", "--site", "a"]).unwrap(), ["telemetry:read:a/*", "command:send:a/*"]);
        let one = "command:send:a/pump-*";
        assert_eq!(scopes(&["--scope", one, "--site", "a"]).unwrap(), [one, "telemetry:read:a/*"]);
        assert!(scopes(&["--scope", one, "--send"]).unwrap_err().contains("--send goes with --site"));
    }

    #[test]
    fn who_names_the_wrong_key_file_is_told_where_the_right_one_is() {
        let path = PathBuf::from("/nowhere/token.key");
        let missing = KeyError::Read { path: path.clone(), source: io::ErrorKind::NotFound.into() };
        assert!(key_fault(&missing).ends_with("is the gateway running, and is this its folder?"));
        let open = key_fault(&KeyError::OpenToOthers { path, mode: 0o644 });
        assert!(open.contains("is this the gateway's key file?") && !open.contains("delete"), "{open}");
    }
}
