//! What the OpenAPI document says of the pages is so: a foreign tool reads it, asks all that it allows and much that it
//! does not, and holds each answer against it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lockgate_tests::agent::{Agent, AgentPlan};
use lockgate_tests::devices::{Devices, Fleet};
use lockgate_tests::gateway::{Gateway, SITE};
use lockgate_tests::program::Program;
use lockgate_tests::watch::Watch;
use lockgate_tests::{python, wait};
use serde_json::Value;

const FLEET: Fleet = Fleet { pumps: 1, thermostats: 1, meters: 0, rooms: 0 };

/// Ten times what a run takes.
const RUN_MAX: Duration = Duration::from_secs(120);

/// Asks for each page so many times by chance, besides the bounds of each parameter.
const EXAMPLES: &str = "15";

/// It asks about twice as much.
const CASES_MIN: u32 = 200;

/// Runs Schemathesis over all pages; `settings` is its configuration.
fn judge(folder: &Path, gateway: &Gateway, name: &str, settings: &str) -> Result<()> {
    let (config, log) = (folder.join(format!("{name}.toml")), folder.join(format!("{name}.log")));
    std::fs::write(&config, settings)?;
    let mut command = Command::new(python::folder().join("bin/schemathesis"));
    command.current_dir(folder).arg("--no-color").arg("--config-file").arg(&config).arg("run");
    command.arg(format!("http://{}/v1/openapi.json", gateway.address()));
    command.args(["--header", &format!("Authorization: Bearer {}", gateway.operator_token()?)]);
    command.args(["--seed", "1", "--max-examples", EXAMPLES, "--no-shrink", "--generation-database", "none"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--request-timeout", "40", "--continue-on-failure"]);
    // No schema can say how many bytes a text may have, nor that of two fields only one may be given.
    command.args(["--exclude-checks", "positive_data_acceptance"]);
    let out = std::fs::File::create(folder.join(format!("{name}.txt")))?;
    let mut program = Program::start(name, command.stdout(out), &log)?;
    let ended = program.exit_within(RUN_MAX)?;
    let told = std::fs::read_to_string(folder.join(format!("{name}.txt")))?;
    ensure!(ended.success(), "{told}\n{}", program.log_tail());
    let counted = told.lines().find_map(|line| line.trim().split_once(" generated, ")?.0.parse::<u32>().ok());
    ensure!(told.contains("Tested: 9") && counted > Some(CASES_MIN), "too little was asked:\n{told}");
    Ok(())
}

#[test]
fn whatever_a_foreign_tool_asks_the_answer_is_as_the_document_says() -> Result<()> {
    python::interpreter()?;
    let folder = tempfile::tempdir()?;
    let (folder, ports) = (folder.path(), folder.path().join("ports"));
    let gateway = Gateway::start(folder, 0)?;
    let _devices = Devices::start(&ports, FLEET, "", &["--interval", "50ms"])?;
    let plan = AgentPlan::new("agent-1", &gateway.url(), &gateway.agent_token("agent-1")?);
    let _agent = Agent::start(folder, &plan.fleet(FLEET, &ports))?;
    let mut watch = Watch::start(folder, &gateway.url(), &gateway.user_token()?, &["--since", "start"])?;
    let is_told = |lines: &[Value]| lines.iter().any(|line| line["offset"].as_u64() > Some(20));
    watch.until("there is something to tell", wait::PATIENCE, is_told)?;
    // Names by chance find the limits of the pages; names that there are, the answers.
    judge(folder, &gateway, "any-names", "").context("with any names")?;
    let known = format!("[parameters]\n\"path.site\" = \"{SITE}\"\n\"path.device\" = \"pump-1\"\n");
    judge(folder, &gateway, "known-names", &known).context("with names that there are")?;
    let faults = gateway.figure("lockgate_gateway_sessions_panicked_total")?;
    ensure!(faults == 0.0, "{faults} requests panicked");
    Ok(())
}
