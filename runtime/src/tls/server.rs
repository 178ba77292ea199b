//! Our end of TLS where others connect: a certificate that can be replaced while we run.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::{TlsError, add_file};

/// The only protocol that is spoken inside. A WebSocket over HTTP/2 is another one.
const ALPN: &[u8] = b"http/1.1";

/// Where certificate and key are, and who vouches for those who connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// Our certificate first, then those that vouch for it; PEM.
    pub cert_file: PathBuf,
    /// Its key; PEM: PKCS#8, PKCS#1 or SEC1.
    pub key_file: PathBuf,
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
    files: ServerFiles,
    current: RwLock<Arc<CertifiedKey>>,
    /// What the files held when they were last looked at, whether it was good or not.
    seen: Mutex<Contents>,
}

/// Of certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Contents(Vec<u8>, Vec<u8>);

impl ServerTls {
    /// Reads the files. TLS 1.2 and 1.3 are spoken.
    pub fn load(files: ServerFiles) -> Result<ServerTls, TlsError> {
        let contents = read(&files)?;
        let certified = Arc::new(certified(&files, &contents)?);
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
                builder.with_client_cert_verifier(
                    verifier.map_err(|_| TlsError::NoCertificate { path: path.clone() })?,
                )
            }
        };
        let identity =
            Arc::new(Identity { files, current: RwLock::new(certified), seen: Mutex::new(contents) });
        let mut config = builder.with_cert_resolver(Arc::clone(&identity) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Who comes back within hours spares us the signature.
        config.ticketer = Ticketer::new().map_err(setup)?;
        Ok(ServerTls { config: Arc::new(config), identity })
    }

    /// Takes connections.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }

    /// Looks at the files: what has changed in them counts for connections from now on, and `true` is said. What can't be
    /// used is said once, and the certificate stays as it was. Blocks shortly.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let identity = &*self.identity;
        let contents = read(&identity.files)?;
        {
            let mut seen = identity.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == contents {
                return Ok(false);
            }
            seen.clone_from(&contents);
        }
        let certified = Arc::new(certified(&identity.files, &contents)?);
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

fn read(files: &ServerFiles) -> Result<Contents, TlsError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::ReadFile { path: path.to_owned(), source })
    };
    Ok(Contents(read(&files.cert_file)?, read(&files.key_file)?))
}

/// The certificate with its key, which belong together.
fn certified(files: &ServerFiles, Contents(chain, key): &Contents) -> Result<CertifiedKey, TlsError> {
    let path = || files.cert_file.clone();
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::ReadCertificates { path: path(), source })?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { path: path() });
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|source| TlsError::ReadKey { path: files.key_file.clone(), source })?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|source| TlsError::Identity {
        cert_file: path(),
        key_file: files.key_file.clone(),
        source,
    })
}

#[cfg(test)]
mod tests;
