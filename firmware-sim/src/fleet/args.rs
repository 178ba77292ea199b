//! What can be asked of a fleet.

use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};
use lockgate_proto::ids::{Site, Tenant};
use lockgate_proto::limits::READINGS_PER_RECORD_MAX;
use lockgate_runtime::dial::GatewayUrl;
use lockgate_token::SigningKey;

use super::plan_logic::{ClientPlan, Pace, Plan, Users};
use super::processes::Watched;
use super::run::Run;
use super::world::World;
use crate::cli::positive;

/// Ends with a table, and fails unless every record came to every reader exactly once and in order.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// A gateway, such as ws://127.0.0.1:8080; may be given several times. Connections spread over all of them, and
    /// go to the next when theirs is lost.
    #[arg(long = "gateway", value_name = "URL", required = true)]
    gateways: Vec<GatewayUrl>,
    /// What answers there: gateways, or `lockgate-sim reference`, which takes and gives bare messages.
    #[arg(long, value_name = "WHAT", default_value = "gateways")]
    against: Against,
    /// The gateways' key file, with which tokens are made: token.key in a gateway's data folder.
    #[arg(long, value_name = "FILE", required_unless_present = "against")]
    key_file: Option<PathBuf>,
    /// The owner of the sites.
    #[arg(long, value_name = "TENANT", default_value = "fleet")]
    tenant: Tenant,
    /// What the names of sites, agents and users begin with. Two fleets at one gateway take two names.
    #[arg(long, value_name = "NAME", default_value = "fleet")]
    name: Site,
    /// Rooms, which are sites: NAME-1 and so on.
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    rooms: usize,
    /// Agents, dealt out to the rooms in turn.
    #[arg(long, value_name = "N", default_value_t = 10)]
    agents: usize,
    /// Devices that each agent tells of, in turn.
    #[arg(long, value_name = "N", default_value = "1")]
    devices_per_agent: NonZeroU64,
    /// Readings in each record.
    #[arg(long, value_name = "N", default_value = "1", value_parser = readings)]
    readings_per_record: usize,
    /// Records a second, of all agents together, whatever the gateway says.
    #[arg(long, value_name = "N", default_value_t = 100)]
    rate: u32,
    /// Instead of a rate: each agent keeps so many records unacknowledged.
    #[arg(long, value_name = "N", conflicts_with = "rate", value_parser = at_least_one)]
    in_flight: Option<usize>,
    /// Readers of one room and one connection each, dealt out to the rooms in turn.
    #[arg(long, value_name = "N", default_value_t = 10)]
    readers: usize,
    /// Instead of readers: users with rooms and clients of their own.
    #[arg(long, value_name = "N", conflicts_with = "readers")]
    users: Option<usize>,
    /// Rooms of each user: a number, or a range to draw from.
    #[arg(long, value_name = "N|A-B", default_value = "1-3", requires = "users", value_parser = range)]
    rooms_per_user: RangeInclusive<usize>,
    /// Connections of each user, every one to all the user's rooms.
    #[arg(long, value_name = "N|A-B", default_value = "1-3", requires = "users", value_parser = range)]
    clients_per_user: RangeInclusive<usize>,
    /// Readers more that take 1 kB a second: they must harm nobody, and are not owed everything.
    #[arg(long, value_name = "N", default_value_t = 0)]
    slow: usize,
    /// Spreads the first connects over this time. Without it they come as fast as --connecting lets them.
    #[arg(long, value_name = "DURATION", value_parser = positive)]
    ramp: Option<Duration>,
    /// Connections that are being made at the same time, at most. A gateway has a limit of its own for those.
    #[arg(long, value_name = "N", default_value = "200", value_parser = at_least_one)]
    connecting: usize,
    /// How long records are published, once all are connected.
    #[arg(long, value_name = "N", default_value = "10")]
    seconds: NonZeroU64,
    /// How long nothing may come any more before what is still missing counts as lost.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = positive)]
    patience: Duration,
    /// The same seed gives the same users.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// A server's process, whose processor time and memory are measured: gateway=4711. May be given several times.
    #[arg(long = "pid", value_name = "NAME=PID")]
    pids: Vec<Watched>,
    /// Writes all figures to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Threads of the fleet itself.
    #[arg(long, value_name = "N", default_value = "1", value_parser = at_least_one)]
    threads: usize,
}

/// Whom a fleet loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    Gateways,
    Reference,
}

/// What a run needs beside its world.
pub(super) struct Terms {
    pub(super) ramp: Duration,
    pub(super) patience: Duration,
    pub(super) watched: Vec<Watched>,
    pub(super) json: Option<PathBuf>,
}

impl FleetArgs {
    /// Threads that the user wants.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Checks what was asked for, reads the key, and deals out rooms.
    pub fn prepare(self) -> anyhow::Result<Run> {
        if self.gateways.iter().any(GatewayUrl::is_secure) {
            bail!("a fleet measures plain connections: give the gateways' own addresses, with ws://");
        }
        let key = self.key()?;
        let plan = self.plan();
        let terms =
            Terms { ramp: self.ramp.unwrap_or_default(), patience: self.patience, watched: self.pids, json: self.json };
        Run::new(World::new(plan, self.gateways, key, self.tenant, self.connecting), terms)
    }

    /// `None`: the reference asks for none.
    fn key(&self) -> anyhow::Result<Option<SigningKey>> {
        match (self.against, &self.key_file) {
            (Against::Reference, _) => Ok(None),
            (Against::Gateways, None) => bail!("gateways want tokens: name their key with --key-file"),
            (Against::Gateways, Some(path)) => SigningKey::load(path).map(Some).map_err(|error| {
                anyhow!("{error}; it is token.key in the gateway's data folder, made at its first start")
            }),
        }
    }

    fn plan(&self) -> Plan {
        let mut plan = Plan {
            rooms: self.rooms,
            agents: self.agents,
            devices: self.devices_per_agent.get(),
            readings: self.readings_per_record,
            pace: self.in_flight.map_or(Pace::Rate(self.rate), Pace::InFlight),
            time: Duration::from_secs(self.seconds.get()),
            clients: self.clients(),
            name: self.name.as_str().to_owned(),
        };
        plan.add_slow(self.slow);
        plan
    }

    fn clients(&self) -> Vec<ClientPlan> {
        let users = match self.users {
            None => Users { count: self.readers, rooms: 1..=1, clients: 1..=1 },
            Some(count) => Users { count, rooms: self.rooms_per_user.clone(), clients: self.clients_per_user.clone() },
        };
        users.spread(self.rooms, self.seed)
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        Ok(_) | Err(_) => Err("expected a number from 1".to_owned()),
    }
}

fn readings(text: &str) -> Result<usize, String> {
    match at_least_one(text)? {
        number @ ..=READINGS_PER_RECORD_MAX => Ok(number),
        _ => Err(format!("a record has at most {READINGS_PER_RECORD_MAX} readings")),
    }
}

fn range(text: &str) -> Result<RangeInclusive<usize>, String> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (at_least_one(from), at_least_one(to)) {
        (Ok(from), Ok(to)) if from <= to => Ok(from..=to),
        _ => Err("expected a number from 1, or a range such as 1-3".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_numbers_from_one_in_rising_order() {
        assert_eq!((range("2"), range("1-3")), (Ok(2..=2), Ok(1..=3)));
        for text in ["0", "3-1", "1-", "-1", "a"] {
            assert!(range(text).is_err(), "{text}");
        }
        assert!(readings("4097").is_err());
    }
}
