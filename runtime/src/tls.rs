//! One way to set up TLS, for every program: rustls with ring.

mod server;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tracing::warn;

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

/// How our connections check the other end: by the system's roots, and by those in `ca_file`.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        warn!(%error, "Cannot load some of the system's root certificates.");
    }
    // Systems carry old certificates that no strict parser takes; the good ones count.
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca_file {
        add_file(&mut roots, path)?;
    } else if roots.is_empty() {
        let said: Vec<String> = native.errors.iter().map(ToString::to_string).collect();
        return Err(TlsError::NoRoots { source: io::Error::new(io::ErrorKind::NotFound, said.join("; ")) });
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Setup { source })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
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
