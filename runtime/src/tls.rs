//! One way to set up TLS, for every program: rustls with ring.

mod identity;
mod server;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tracing::warn;

pub use identity::IdentityFiles;
pub use server::{ServerFiles, ServerTls};

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {path:?}: {source}")]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file has no private key.
    #[error("{path:?} has no private key that can be used; it must be PEM text with BEGIN PRIVATE KEY: {source}")]
    ReadKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key are not of each other, or of a kind that is not supported.
    #[error("the key in {key_file:?} does not go with the certificate in {cert_file:?}: {source}")]
    Identity {
        /// The certificate's file.
        cert_file: PathBuf,
        /// The key's.
        key_file: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// The file of certificates to trust can't be read, or is no PEM.
    #[error("cannot read the certificates in {path:?}: {source}")]
    ReadCertificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// The file of certificates to trust has none, or one that is damaged.
    #[error("{path:?} has no certificate that can be used; it must be PEM text with BEGIN CERTIFICATE")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// Neither the system nor a file says whom to trust.
    #[error("the system has no root certificates; install ca-certificates, or name a file of your own: {source}")]
    NoRoots {
        /// What the system said.
        source: io::Error,
    },
    /// Protocol versions and ciphers don't fit each other.
    #[error("cannot set up TLS: {source}")]
    Setup {
        /// What rustls says.
        source: rustls::Error,
    },
}

/// Makes ring the process's cryptography: the first line of each `main`. Libraries that choose by
/// themselves then find one choice, where otherwise their first handshake would panic.
pub fn install() {
    // A second call in one process finds the same choice made.
    let _already = default_provider().install_default();
}

/// Whom our connections trust, and what they show to those that ask who connects. Without anything: the system's roots,
/// and nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Certificates that may vouch for the other end, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Those of the file alone may, and the system's count for nothing.
    pub file_alone: bool,
    /// What we show.
    pub identity: Option<IdentityFiles>,
}

impl Trust {
    /// The system's roots, and a file's.
    pub fn besides(ca_file: Option<&Path>) -> Trust {
        Trust { ca_file: ca_file.map(Path::to_owned), ..Trust::default() }
    }
}

/// How our connections check the other end, and prove who is at this one.
pub fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = roots(trust)?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Setup { source })?
        .with_root_certificates(roots);
    let config = match &trust.identity {
        None => config.with_no_client_auth(),
        Some(files) => {
            let certified = files.certified(&files.read()?)?;
            config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
    };
    Ok(Arc::new(config))
}

fn roots(trust: &Trust) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    if let (Some(path), true) = (&trust.ca_file, trust.file_alone) {
        add_file(&mut roots, path)?;
        return Ok(roots);
    }
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        warn!(%error, "Cannot load some of the system's root certificates.");
    }
    // Systems carry old certificates that no strict parser takes; the good ones count.
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = &trust.ca_file {
        add_file(&mut roots, path)?;
    } else if roots.is_empty() {
        let said: Vec<String> = native.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots { source: io::Error::new(io::ErrorKind::NotFound, said.join("; ")) });
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let failed = |source| TlsError::ReadCertificates { path: path.to_owned(), source };
    let none = || TlsError::NoCertificate { path: path.to_owned() };
    let mut added = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(failed)? {
        roots.add(certificate.map_err(failed)?).map_err(|_| none())?;
        added += 1;
    }
    if added == 0 { Err(none()) } else { Ok(()) }
}
