//! Certificates in files, good, replaced and damaged.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::{Trust, client_config};

/// Writes a certificate that vouches for itself, and its key.
fn make(folder: &Path) -> ServerFiles {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let identity = IdentityFiles { cert_file: folder.join("cert.pem"), key_file: folder.join("key.pem") };
    std::fs::write(&identity.cert_file, pem("CERTIFICATE", certificate.der())).unwrap();
    std::fs::write(&identity.key_file, pem("PRIVATE KEY", &key.serialize_der())).unwrap();
    ServerFiles { identity, client_ca_file: None }
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

/// Connects, trusting what `ca_file` holds; gives the certificate that was shown, and the protocol inside.
async fn connect(tls: &ServerTls, ca_file: &Path) -> std::io::Result<(Vec<u8>, Vec<u8>)> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let mut config = rustls::ClientConfig::clone(&client_config(&Trust::besides(Some(ca_file))).unwrap());
    config.alpn_protocols = vec![b"h2".to_vec(), ALPN.to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("localhost").unwrap();
    let (connected, accepted) = tokio::join!(connector.connect(name, near), tls.acceptor().accept(far));
    let (connected, _accepted) = (connected?, accepted?);
    let session = connected.get_ref().1;
    let shown = session.peer_certificates().unwrap()[0].to_vec();
    Ok((shown, session.alpn_protocol().unwrap_or_default().to_vec()))
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_shown_from_then_on() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    let tls = ServerTls::load(files.clone()).unwrap();
    let (first, protocol) = connect(&tls, &files.identity.cert_file).await.unwrap();
    assert_eq!(protocol, ALPN);
    assert!(!tls.refresh().unwrap(), "nothing has changed");

    make(folder.path());
    assert!(connect(&tls, &files.identity.cert_file).await.is_err(), "the old one is still shown, which nobody trusts");
    assert!(tls.refresh().unwrap());
    assert_ne!(connect(&tls, &files.identity.cert_file).await.unwrap().0, first);
}

#[tokio::test]
async fn what_is_no_certificate_changes_nothing_and_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    let trusted = folder.path().join("ca.pem");
    std::fs::copy(&files.identity.cert_file, &trusted).unwrap();
    let tls = ServerTls::load(files.clone()).unwrap();
    let key = std::fs::read(&files.identity.key_file).unwrap();

    std::fs::write(&files.identity.cert_file, "half a certificate").unwrap();
    assert!(matches!(tls.refresh(), Err(TlsError::NoCertificate { .. })));
    assert!(!tls.refresh().unwrap(), "said twice");
    // A new certificate whose key is still to come.
    make(folder.path());
    std::fs::write(&files.identity.key_file, key).unwrap();
    assert!(matches!(tls.refresh(), Err(TlsError::Identity { .. })));
    std::fs::remove_file(&files.identity.key_file).unwrap();
    assert!(matches!(tls.refresh(), Err(TlsError::ReadFile { .. })));
    assert!(connect(&tls, &trusted).await.is_ok(), "the first certificate is shown no more");
}

#[test]
fn each_fault_of_the_files_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let files = make(folder.path());
    let said = |files: &ServerFiles| ServerTls::load(files.clone()).unwrap_err().to_string();
    std::fs::write(folder.path().join("empty.pem"), "").unwrap();
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let other = make(&other);
    let certificate = |path: PathBuf| IdentityFiles { cert_file: path, ..files.identity.clone() };
    let key = |path: PathBuf| IdentityFiles { key_file: path, ..files.identity.clone() };
    let shown = |identity| ServerFiles { identity, client_ca_file: None };
    for (changed, named) in [
        (shown(certificate(folder.path().join("none.pem"))), "none.pem"),
        (shown(certificate(folder.path().join("empty.pem"))), "empty.pem"),
        (shown(key(files.identity.cert_file.clone())), "cert.pem"),
        (shown(key(other.identity.key_file.clone())), "other/key.pem"),
        (ServerFiles { client_ca_file: Some(folder.path().join("empty.pem")), ..files.clone() }, "empty.pem"),
    ] {
        let said = said(&changed);
        assert!(said.contains(named), "{said}");
    }
}
