//! `[tls]`: the certificate that the gateway shows.

use std::path::PathBuf;

use lockgate_config::{Item, Table};

/// Where certificate and key are. A relative path is taken from the folder in which the gateway is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The certificate first, then those that vouch for it.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// Agents must show a certificate that one of these vouches for.
    pub agents_ca_file: Option<PathBuf>,
}

impl TlsConfig {
    pub(super) fn check(table: &Table<'_>) -> Option<TlsConfig> {
        let cert_file = table.required("cert_file", Item::file);
        let key_file = table.required("key_file", Item::file);
        let agents_ca_file = table.optional("agents_ca_file", Item::file);
        Some(TlsConfig { cert_file: cert_file?, key_file: key_file?, agents_ca_file })
    }
}
