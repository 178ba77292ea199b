//! Our end of TLS where others connect: a certificate that can be replaced while we run.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::identity::Contents;
use super::{IdentityFiles, TlsError, add_file};

/// The only protocol that is spoken inside. A WebSocket over HTTP/2 is another one.
const ALPN: &[u8] = b"http/1.1";

/// Where certificate and key are, and who vouches for those who connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// What we show.
    pub identity: IdentityFiles,
    /// Whoever shows a certificate must have it from one of these; PEM. `None`: nobody is asked for one.
    pub client_ca_file: Option<PathBuf>,
}

/// The server's end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    identity: Arc<Identity>,
}

/// What we show, as long as the files stay as they are.
#[derive(Debug)]
struct Identity {
    files: IdentityFiles,
    current: RwLock<Arc<CertifiedKey>>,
    /// What the files held when they were last looked at, whether it was good or not.
    seen: Mutex<Contents>,
}

impl ServerTls {
    /// Reads the files. TLS 1.2 and 1.3 are spoken.
    pub fn load(files: ServerFiles) -> Result<ServerTls, TlsError> {
        let contents = files.identity.read()?;
        let certified = Arc::new(files.identity.certified(&contents)?);
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(setup)?;
        let builder = match &files.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                add_file(&mut roots, path)?;
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::new(default_provider()));
                // People have none. Who needs one is decided where it is known what is wanted.
                let verifier = verifier.allow_unauthenticated().build();
                builder.with_client_cert_verifier(verifier.map_err(|_| TlsError::NoCertificate { path: path.clone() })?)
            }
        };
        let (current, seen) = (RwLock::new(certified), Mutex::new(contents));
        let identity = Arc::new(Identity { files: files.identity, current, seen });
        let mut config = builder.with_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Who comes back within hours spares us the signature.
        config.ticketer = Ticketer::new().map_err(setup)?;
        Ok(ServerTls { config: Arc::new(config), identity })
    }

    /// Takes connections.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Looks at the files: what has changed in them counts for connections from now on, and `true` is said. What can't be
    /// used is said once, and the certificate stays as it was. Blocks shortly.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let identity = &*self.identity;
        let contents = identity.files.read()?;
        {
            let mut seen = identity.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == contents {
                return Ok(false);
            }
            seen.clone_from(&contents);
        }
        let certified = Arc::new(identity.files.certified(&contents)?);
        *identity.current.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(true)
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn setup(source: rustls::Error) -> TlsError {
    TlsError::Setup { source }
}

#[cfg(test)]
mod tests;
