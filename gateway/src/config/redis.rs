//! `[redis]`: the backbone that many gateways share.

use std::path::PathBuf;

use lockgate_config::Table;

use crate::backbone::redis::Durability;

/// Which Redis, and what an acknowledgement waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://` or, with TLS, `rediss://`.
    pub url: String,
    /// The file that holds the password, and nothing else.
    pub password_file: Option<PathBuf>,
    /// The certificates that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What an acknowledgement waits for.
    pub durability: Durability,
}

impl RedisConfig {
    /// That Redis, and the defaults for all else.
    pub fn new(url: String) -> RedisConfig {
        RedisConfig { url, password_file: None, ca_file: None, durability: Durability::Memory }
    }

    pub(super) fn check(table: &Table<'_>) -> Option<RedisConfig> {
        let url = table.required("url", |item| {
            item.parse(|text| {
                let fix =
                    "is no address of a Redis; write it as \"redis://HOST:6379\", or \"rediss://HOST:6379\" for TLS";
                let fits = text.starts_with("redis://") || text.starts_with("rediss://");
                fits.then(|| text.to_owned()).ok_or(fix)
            })
        });
        let password_file = table.optional("password_file", lockgate_config::Item::file);
        let ca_file = table.optional("ca_file", lockgate_config::Item::file);
        let words = [("memory", Word::Memory), ("replicated", Word::Replicated), ("fsync", Word::Fsync)];
        let word = table.or("durability", Word::Memory, |item| item.word(&words));
        let replicas = table.optional("replicas", |item| item.integer(1..=16));
        if replicas.is_some() && word != Word::Replicated {
            let fix = "set durability = \"replicated\", or leave it out";
            table.problem("replicas is only for an acknowledgement that waits for replicas", fix);
        }
        let durability = match word {
            Word::Memory => Durability::Memory,
            Word::Replicated => Durability::Replicated { replicas: replicas.unwrap_or(1) },
            Word::Fsync => Durability::Fsync,
        };
        Some(RedisConfig { url: url?, password_file, ca_file, durability })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Memory,
    Replicated,
    Fsync,
}
