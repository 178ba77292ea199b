//! Gateways that speak TLS, and those that should.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail, ensure};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::gateway::{Gateway, SITE};
use lockgate_tests::program::ours;
use lockgate_tests::tls::Identity;
use lockgate_tests::wait;

/// The agent's own readings of itself are enough: no device is needed.
fn plan(gateway: &Gateway, agent: &str, trusted: &Identity, more: &str) -> Result<AgentPlan> {
    let uplink = format!("ca_file = \"{}\"\nca_file_alone = true\n{more}", trusted.certificate.display());
    Ok(AgentPlan { uplink, ..AgentPlan::new(agent, &gateway.url(), &gateway.agent_token(agent)?) })
}

/// Asks `lockgate devices`, trusting a certificate; gives what it printed to either side.
fn devices(gateway: &Gateway, trusted: &Identity) -> Result<(bool, String)> {
    let mut lockgate = Command::new(ours("lockgate")?);
    lockgate.args(["devices", SITE, "--ca-file-alone", "--url", &gateway.url(), "--token", &gateway.user_token()?]);
    let output = lockgate.arg("--ca-file").arg(&trusted.certificate).output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

fn start(folder: &Path, name: &str, config: &str) -> Result<Gateway> {
    Gateway::start_one(folder, name, 0, &folder.join("token.key"), config)
}

#[test]
fn agents_and_people_come_by_tls_and_a_new_certificate_needs_no_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let (own, other) = (Identity::make(folder, "own")?, Identity::make(folder, "other")?);
    let gateway = start(folder, "gateway", &own.gateway())?;
    let mut agent = Agent::start(folder, &plan(&gateway, "agent-1", &own, "")?)?;
    let is_there = |trusted: &Identity| Ok::<_, anyhow::Error>(devices(&gateway, trusted)?.1.contains("agent-1"));
    wait::until("the agent is seen", wait::PATIENCE, || is_there(&own).unwrap_or_default().then_some(()))?;
    let (ok, said) = devices(&gateway, &other)?;
    ensure!(!ok && said.contains("certificate"), "whom nobody vouches for is trusted: {said}");
    let mut wary = Agent::start(folder, &plan(&gateway, "agent-2", &other, "")?)?;
    let refusal = || wary.log_text().to_lowercase().contains("certificate").then_some(());
    wait::until("the agent says that it does not trust the gateway", wait::PATIENCE, refusal)?;
    wary.stop(wait::PATIENCE)?;

    let before = folder.join("before.crt");
    std::fs::copy(&own.certificate, &before)?;
    let before = Identity { certificate: before, ..own.clone() };
    let new = Identity::make(folder, "own")?;
    wait::until("the new certificate is shown", wait::PATIENCE, || is_there(&new).unwrap_or_default().then_some(()))?;
    ensure!(!devices(&gateway, &before)?.0, "the certificate before is still shown");
    ensure!(agent.is_running(), "{}", agent.log_tail());
    agent.stop(wait::PATIENCE)
}

#[test]
fn agents_must_show_a_certificate_where_one_is_asked_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let (own, pi, other) =
        (Identity::make(folder, "own")?, Identity::make(folder, "pi")?, Identity::make(folder, "other")?);
    let config = format!("{}agents_ca_file = \"{}\"\n", own.gateway(), pi.certificate.display());
    let gateway = start(folder, "gateway", &config)?;
    let showing = |identity: &Identity| {
        format!("cert_file = \"{}\"\nkey_file = \"{}\"\n", identity.certificate.display(), identity.key.display())
    };
    let mut bare = Agent::start(folder, &plan(&gateway, "agent-1", &own, "")?)?;
    let refused = || bare.log_text().contains("uplink.cert_file").then_some(());
    wait::until("an agent without a certificate is told what it needs", wait::PATIENCE, refused)?;
    bare.stop(wait::PATIENCE)?;
    let mut strange = Agent::start(folder, &plan(&gateway, "agent-2", &own, &showing(&other))?)?;
    let refused = || gateway.figure("lockgate_gateway_connections_refused_total").is_ok_and(|count| count > 0.0);
    wait::until("a strange certificate is refused", wait::PATIENCE, || refused().then_some(()))?;
    strange.stop(wait::PATIENCE)?;
    let (_, said) = devices(&gateway, &own)?;
    ensure!(!said.contains("agent-1") && !said.contains("agent-2"), "{said}");

    let mut known = Agent::start(folder, &plan(&gateway, "agent-3", &own, &showing(&pi))?)?;
    let is_there = || devices(&gateway, &own).is_ok_and(|(_, said)| said.contains("agent-3")).then_some(());
    wait::until("the agent with its certificate is seen", wait::PATIENCE, is_there)?;
    known.stop(wait::PATIENCE)
}

#[test]
fn who_speaks_no_tls_is_told_and_harms_nobody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let own = Identity::make(folder.path(), "own")?;
    let gateway = start(folder.path(), "gateway", &own.gateway())?;
    let mut stream = TcpStream::connect(gateway.address())?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 400") && answer.contains("https://"), "{answer}");
    // A record that is none, and a hello that never ends.
    for garbage in [&b"\x16\x03\x01\x00\x05hello"[..], b"\x16\x03\x01\x40\x00\x01"] {
        TcpStream::connect(gateway.address())?.write_all(garbage)?;
    }
    let refused = || gateway.figure("lockgate_gateway_connections_refused_total").is_ok_and(|count| count >= 3.0);
    wait::until("all three are counted", wait::PATIENCE, || refused().then_some(()))?;
    ensure!(devices(&gateway, &own)?.0, "the gateway serves nobody any more");
    Ok(())
}

#[test]
fn a_gateway_that_others_can_reach_does_not_start_without_tls_or_a_word() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let run = |name: &str, config: &str| {
        let path = folder.join(format!("{name}.toml"));
        std::fs::write(&path, config)?;
        let mut gateway = Command::new(ours("lockgate-gateway")?);
        gateway.arg("run").arg("--config").arg(&path).arg("--data").arg(folder.join(name));
        gateway.args(["--listen", &everywhere.to_string(), "--metrics-listen", "127.0.0.1:0"]);
        Ok::<_, anyhow::Error>(gateway)
    };
    let refused = run("open", "")?.output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success() && said.contains("server.insecure") && said.contains("[tls]"), "{said}");
    let checked =
        Command::new(ours("lockgate-gateway")?).args(["check", "--config"]).arg(folder.join("open.toml")).output()?;
    ensure!(checked.status.success(), "it listens on the loopback address unless it is told otherwise");
    std::fs::write(folder.join("everywhere.toml"), "[server]\nlisten = '0.0.0.0:0'\n")?;
    let everywhere = folder.join("everywhere.toml");
    let checked = Command::new(ours("lockgate-gateway")?).args(["check", "--config"]).arg(everywhere).output()?;
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    ensure!(checked.status.code() == Some(2) && said.contains("server.insecure"), "{said}");
    let mut missing = run("missing", "[tls]\ncert_file = \"none.crt\"\nkey_file = \"none.key\"\n")?;
    let said = String::from_utf8_lossy(&missing.output()?.stderr).into_owned();
    ensure!(said.contains("none.crt"), "{said}");
    let Err(error) = start(folder, "torn", "[tls]\ncert_file = \"/dev/null\"\nkey_file = \"/dev/null\"\n") else {
        bail!("a gateway without a certificate runs")
    };
    ensure!(format!("{error:#}").contains("/dev/null"), "{error:#}");
    Ok(())
}
