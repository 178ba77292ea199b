//! Gateways and a Redis that wants a password, over TLS.

use std::net::TcpListener;
use std::path::Path;

use anyhow::{Result, bail, ensure};
use lockgate_tests::gateway::Gateway;
use lockgate_tests::line::Line;
use lockgate_tests::redis::Redis;
use lockgate_tests::tls::Identity;

const PASSWORD: &str = "correct horse battery";

/// A Redis that takes TLS at the port that is given with it.
fn start(folder: &Path, identity: &Identity) -> Result<(Redis, u16)> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let (certificate, key) = (identity.certificate.display(), identity.key.display());
    let settings = [
        format!("tls-port {port}"),
        format!("tls-cert-file {certificate}"),
        format!("tls-key-file {key}"),
        format!("tls-ca-cert-file {certificate}"),
        "tls-auth-clients no".to_owned(),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let redis = Redis::start_with(&folder.join("redis"), &settings)?;
    redis.ask_bytes(&[b"CONFIG", b"SET", b"requirepass", PASSWORD.as_bytes()])?;
    Ok((redis, port))
}

#[test]
fn gateways_reach_redis_with_a_password_over_tls_and_say_what_is_wrong_with_either() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let (own, other) = (Identity::make(folder, "own")?, Identity::make(folder, "other")?);
    let (redis, port) = start(folder, &own)?;
    let password = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).map(|()| path)
    };
    // As an editor leaves it, with the end of its line.
    let (good, bad) = (password("good", &format!("{PASSWORD}\n"))?, password("bad", "tr0ub4dor")?);
    let gateway = |name: &str, password: &Path, trusted: &Identity| {
        let config = format!(
            "[redis]\nurl = \"rediss://localhost:{port}\"\npassword_file = \"{}\"\nca_file = \"{}\"\n",
            password.display(),
            trusted.certificate.display()
        );
        Gateway::start_one(folder, name, 0, &folder.join("token.key"), &config)
    };
    for (name, password, trusted, words) in
        [("wary", &good, &other, "redis.ca_file"), ("guessing", &bad, &own, "redis.password_file")]
    {
        let Err(error) = gateway(name, password, trusted) else { bail!("the gateway {name} runs") };
        let said = format!("{error:#}");
        ensure!(said.contains(words) && !said.contains("tr0ub4dor"), "{name}: {said}");
    }
    let line = Line::start(folder, gateway("gateway", &good, &own)?)?;
    line.reckon()?;
    drop(redis);
    Ok(())
}
