//! The certificate that the gateway shows, and that it is none too few.

use std::net::SocketAddr;
use std::time::Duration;

use lockgate_runtime::Supervisor;
use lockgate_runtime::tls::{IdentityFiles, ServerFiles, ServerTls, TlsError};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::{Config, TlsConfig};

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Why a gateway does not start for want of TLS.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// Other machines could connect, and anyone on the way could read tokens and readings.
    #[error(
        "server.listen is {listen}, which other machines can reach, and there is no [tls]; name a certificate there, \
         listen on 127.0.0.1 behind a proxy that speaks TLS, or set server.insecure = true"
    )]
    Open {
        /// Where it was to listen.
        listen: SocketAddr,
    },
    /// The files can't be used.
    #[error(transparent)]
    Unusable(#[from] TlsError),
}

/// Reads the certificate, if there is to be one.
pub(crate) fn load(config: &Config) -> Result<Option<ServerTls>, CertificatesError> {
    if config.is_open_to_all() {
        return Err(CertificatesError::Open { listen: config.server.listen });
    }
    let Some(TlsConfig { cert_file, key_file, agents_ca_file }) = config.tls.clone() else { return Ok(None) };
    let tls = ServerTls::load(ServerFiles {
        identity: IdentityFiles { cert_file, key_file },
        client_ca_file: agents_ca_file,
    })?;
    Ok(Some(tls))
}

/// The same, and looks from now on whether it was replaced.
pub(crate) fn start(config: &Config, supervisor: &Supervisor) -> Result<Option<ServerTls>, CertificatesError> {
    let Some(tls) = load(config)? else { return Ok(None) };
    let watched = tls.clone();
    supervisor.spawn("certificates", |stop| look(watched, stop));
    Ok(Some(tls))
}

/// Takes over a certificate that was replaced.
async fn look(tls: ServerTls, stop: CancellationToken) -> anyhow::Result<()> {
    let mut told = None;
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await.is_some() {
        let tls = tls.clone();
        match tokio::task::spawn_blocking(move || tls.refresh()).await? {
            Ok(true) => {
                told = None;
                info!("The certificate was replaced; new connections are shown the new one.");
            }
            Ok(false) => {}
            Err(error) => {
                // A file that is not there is not there at the next look either.
                let error = error.to_string();
                if told.as_ref() != Some(&error) {
                    warn!(error, "The certificate can't be replaced; the one before is still shown.");
                    told = Some(error);
                }
            }
        }
    }
    Ok(())
}
