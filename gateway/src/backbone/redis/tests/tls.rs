//! Redis over TLS.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lockgate_tests::redis::Redis;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::open_with;
use crate::backbone::conformance::agent::{Agent, room};
use crate::backbone::redis::ConnectError;
use crate::backbone::{Backbone, FeedItem};

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn pem(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", BASE64_STANDARD.encode(der))
}

fn trusted(authority: &CertifiedIssuer<'static, KeyPair>) -> String {
    pem("CERTIFICATE", authority.der())
}

/// A Redis with a certificate for these names, and its URL for TLS.
fn start(folder: &Path, authority: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) -> (Redis, String) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, authority).unwrap();
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = [
        format!("tls-port {port}"),
        format!("tls-cert-file {}", file("cert.pem", pem("CERTIFICATE", certificate.der()))),
        format!("tls-key-file {}", file("key.pem", pem("PRIVATE KEY", &key.serialize_der()))),
        format!("tls-ca-cert-file {}", file("ca.pem", trusted(authority))),
        "tls-auth-clients no".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let redis = Redis::start_with(&folder.join("redis"), &settings).unwrap();
    redis.ask("CONFIG SET requirepass secret").unwrap();
    (redis, format!("rediss://localhost:{port}"))
}

async fn connect(url: &str, ca: String) -> Result<Arc<dyn Backbone>, ConnectError> {
    let opened = open_with(url, |options| {
        options.ca = Some(ca.into_bytes());
        options.password = Some("secret".to_owned());
    });
    Ok(Arc::new(opened.await?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_and_feeds_go_over_tls() {
    let place = TempDir::new().unwrap();
    let authority = authority();
    let (_redis, url) = start(place.path(), &authority, &["localhost"]);
    let backbone = connect(&url, trusted(&authority)).await.unwrap();
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 1).await;
    let mut feed = backbone.subscribe(&room("plant")).await.unwrap();
    agent.store("pump", 2).await;
    assert!(matches!(feed.next().await, FeedItem::Entries(_)));
    assert_eq!(agent.log().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_not_trusted_is_refused_with_the_reason() {
    let place = TempDir::new().unwrap();
    let authority = authority();
    let (_redis, url) = start(place.path(), &authority, &["localhost"]);
    for (url, ca) in
        [(url.clone(), trusted(&self::authority())), (url.replace("localhost", "127.0.0.1"), trusted(&authority))]
    {
        match connect(&url, ca).await {
            Err(ConnectError::Unfit { reason, .. }) => {
                assert!(reason.contains("certificate") && reason.contains("redis.ca_file"), "{reason}");
            }
            Err(other) => panic!("refused for another reason: {other}"),
            Ok(_) => panic!("{url} is trusted"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ca_file_without_a_certificate_is_no_certificate() {
    let refused = open_with("rediss://localhost:1", |options| options.ca = Some(b"nothing".to_vec())).await;
    assert!(matches!(refused, Err(ConnectError::Certificates)), "taken");
}
