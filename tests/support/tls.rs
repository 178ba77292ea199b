//! Certificates made on the spot.

use std::path::{Path, PathBuf};

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// A certificate that vouches for itself, and its key, as files.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Also what others must trust.
    pub certificate: PathBuf,
    /// Readable by its owner alone.
    pub key: PathBuf,
}

impl Identity {
    /// For localhost, by name and by address. One of the same name is replaced.
    pub fn make(folder: &Path, name: &str) -> Result<Identity> {
        let pair = rcgen::KeyPair::generate()?;
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names)?.self_signed(&pair)?;
        let identity = Identity::at(folder, name);
        std::fs::write(&identity.certificate, pem("CERTIFICATE", certificate.der()))?;
        std::fs::write(&identity.key, pem("PRIVATE KEY", &pair.serialize_der()))?;
        Ok(identity)
    }

    /// One that was made.
    pub fn at(folder: &Path, name: &str) -> Identity {
        Identity { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) }
    }

    /// Lines of a Mosquitto configuration.
    pub fn listener(&self) -> String {
        format!("certfile {}\nkeyfile {}\n", self.certificate.display(), self.key.display())
    }

    /// Lines of a gateway's configuration.
    pub fn gateway(&self) -> String {
        format!("[tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n", self.certificate.display(), self.key.display())
    }
}

/// RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<String> =
        text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
