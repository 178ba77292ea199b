//! A certificate and its key, as files.

use std::path::{Path, PathBuf};

use rustls::crypto::ring::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// What one end shows to the other; PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// Our certificate first, then those that vouch for it.
    pub cert_file: PathBuf,
    /// Its key: PKCS#8, PKCS#1 or SEC1.
    pub key_file: PathBuf,
}

/// What the two files hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents {
    chain: Vec<u8>,
    key: Vec<u8>,
}

impl IdentityFiles {
    pub(super) fn read(&self) -> Result<Contents, TlsError> {
        let read =
            |path: &Path| std::fs::read(path).map_err(|source| TlsError::ReadFile { path: path.to_owned(), source });
        Ok(Contents { chain: read(&self.cert_file)?, key: read(&self.key_file)? })
    }

    /// The certificate with its key, which must belong together.
    pub(super) fn certified(&self, Contents { chain, key }: &Contents) -> Result<CertifiedKey, TlsError> {
        let path = || self.cert_file.clone();
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| TlsError::ReadCertificates { path: path(), source })?;
        if chain.is_empty() {
            return Err(TlsError::NoCertificate { path: path() });
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|source| TlsError::ReadKey { path: self.key_file.clone(), source })?;
        CertifiedKey::from_der(chain, key, &default_provider()).map_err(|source| TlsError::Identity {
            cert_file: path(),
            key_file: self.key_file.clone(),
            source,
        })
    }
}
