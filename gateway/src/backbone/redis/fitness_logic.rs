//! What a Redis must be like, by what its `INFO` says. Pure.

use std::collections::HashMap;

use super::options::Durability;

/// The oldest version with functions and sharded Pub/Sub.
const OLDEST: (u32, u32) = (7, 0);

/// The first version that can be asked whether something is on its disk.
const WITH_WAITAOF: (u32, u32) = (7, 2);

/// What a write is followed by on the same connection, so that its answer means what it is to mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing.
    No,
    /// `WAIT` for so many replicas.
    Replicas(u32),
    /// `WAITAOF` for the master's own disk.
    OwnDisk,
}

/// Whether a Redis is fit for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Fit(Wait),
    /// It is, if its `appendfsync` is `always`: what was answered is then on the disk already.
    FitIfAlwaysSynced,
    /// It will be, perhaps: ask again.
    NotYet(&'static str),
    /// Somebody must set it up differently.
    Unfit(String),
}

/// The lines of an `INFO`.
pub(super) struct Info<'a> {
    fields: HashMap<&'a str, &'a str>,
}

impl<'a> Info<'a> {
    pub(super) fn parse(text: &'a str) -> Info<'a> {
        Info { fields: text.lines().filter_map(|line| line.split_once(':')).collect() }
    }

    fn get(&self, field: &str) -> &'a str {
        self.fields.get(field).copied().unwrap_or_default()
    }

    /// Whether it is a node of a cluster.
    pub(super) fn is_of_cluster(&self) -> bool {
        self.get("cluster_enabled") == "1"
    }

    /// Of `CLUSTER INFO`: whether every slot has a master, as far as the node sees.
    pub(super) fn cluster_is_ok(&self) -> bool {
        self.get("cluster_state") == "ok"
    }

    fn version(&self) -> (u32, u32) {
        let mut numbers = self.get("redis_version").split('.').map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

pub(super) fn judge(info: &Info<'_>, durability: Durability) -> Verdict {
    let version = info.version();
    if version < OLDEST {
        let found = info.get("redis_version");
        return Verdict::Unfit(format!("it is version {found:?}; 7.0 or newer is needed"));
    }
    if info.get("loading") == "1" {
        return Verdict::NotYet("it is still loading its data");
    }
    // A replica may be made the master at any time.
    if info.get("role") != "master" {
        return Verdict::NotYet("it is a replica, and only a master takes writes");
    }
    let policy = info.get("maxmemory_policy");
    if policy != "noeviction" {
        return Verdict::Unfit(format!(
            "its maxmemory-policy is {policy:?}, which drops what was acknowledged; set it to noeviction"
        ));
    }
    match durability {
        Durability::Memory => Verdict::Fit(Wait::No),
        Durability::Replicated { replicas } => Verdict::Fit(Wait::Replicas(replicas)),
        Durability::Fsync if info.get("aof_enabled") != "1" => {
            Verdict::Unfit("durability = \"fsync\" needs appendonly yes, and it is no".to_owned())
        }
        Durability::Fsync if version >= WITH_WAITAOF => Verdict::Fit(Wait::OwnDisk),
        Durability::Fsync => Verdict::FitIfAlwaysSynced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nloading:0\r\nrole:master\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n";

    fn verdict(from: &str, to: &str, durability: Durability) -> Verdict {
        assert!(GOOD.contains(from));
        judge(&Info::parse(&GOOD.replace(from, to)), durability)
    }

    #[test]
    fn what_could_lose_what_was_acknowledged_is_unfit() {
        for (from, to, named) in [
            ("7.0.15", "6.2.14", "6.2.14"),
            ("noeviction", "allkeys-lru", "allkeys-lru"),
            ("maxmemory_policy:noeviction", "", "noeviction"),
        ] {
            let Verdict::Unfit(why) = verdict(from, to, Durability::Memory) else { panic!("{to:?} is taken as fit") };
            assert!(why.contains(named), "{why}");
        }
        let why = verdict("aof_enabled:1", "aof_enabled:0", Durability::Fsync);
        assert!(matches!(&why, Verdict::Unfit(why) if why.contains("appendonly")), "{why:?}");
    }

    #[test]
    fn what_an_acknowledgement_waits_for_hangs_on_the_version() {
        assert_eq!(verdict("", "", Durability::Memory), Verdict::Fit(Wait::No));
        assert_eq!(verdict("", "", Durability::Replicated { replicas: 2 }), Verdict::Fit(Wait::Replicas(2)));
        assert_eq!(verdict("", "", Durability::Fsync), Verdict::FitIfAlwaysSynced);
        assert_eq!(verdict("7.0.15", "7.2.0", Durability::Fsync), Verdict::Fit(Wait::OwnDisk));
        assert_eq!(verdict("7.0.15", "8.10.1", Durability::Fsync), Verdict::Fit(Wait::OwnDisk));
    }

    #[test]
    fn what_passes_by_itself_is_waited_for() {
        assert!(matches!(verdict("loading:0", "loading:1", Durability::Memory), Verdict::NotYet(_)));
        assert!(matches!(verdict("role:master", "role:slave", Durability::Memory), Verdict::NotYet(_)));
    }
}
