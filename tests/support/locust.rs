//! People who read, played by Locust: a client of another language that shares no code with ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::gateway::Gateway;
use crate::program::Program;
use crate::{python, wait};

/// Identities that users take in turn.
const TOKENS: usize = 10;

/// A running Locust, with `tests/load/locustfile.py`.
#[derive(Debug)]
pub struct Locust {
    program: Program,
    report: PathBuf,
}

impl Locust {
    /// So many users come, `per_second` at a time, each with 1 to 3 connections to 1 to 3 of the rooms; every one loses
    /// a connection every `lose_every`. The report goes to `folder/locust.json`.
    pub fn start(
        folder: &Path,
        gateways: &[Gateway],
        (users, per_second, rooms): (usize, usize, usize),
        lose_every: Duration,
    ) -> Result<Locust> {
        let gateway = gateways.first().context("there is no gateway")?;
        let tokens: Vec<String> =
            (1..=TOKENS).map(|number| gateway.token_of(&format!("locust-{number}"))).collect::<Result<_>>()?;
        let (tokens_file, descriptors) = (folder.join("locust.tokens"), folder.join("client.binpb"));
        std::fs::write(&tokens_file, tokens.join("\n"))?;
        std::fs::write(&descriptors, self::descriptors()?)?;
        let (report, log) = (folder.join("locust.json"), folder.join("locust.log"));
        // What an earlier run left must not be taken for this one's.
        drop(std::fs::remove_file(&report));
        let mut command = Command::new(python::interpreter()?);
        command.args(["-m", "locust", "--headless", "--only-summary", "--reset-stats", "--locustfile"]);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("load/locustfile.py"));
        command.args(["--users", &users.to_string(), "--spawn-rate", &per_second.to_string()]);
        command.args(["--rooms", &rooms.to_string(), "--lose-every", &lose_every.as_secs_f64().to_string()]);
        for gateway in gateways {
            command.args(["--gateway", &gateway.url()]);
        }
        command.arg("--tokens").arg(&tokens_file).arg("--descriptors").arg(&descriptors).arg("--report").arg(&report);
        let out = std::fs::File::create(folder.join("locust.txt"))?;
        let program = Program::start("locust", command.stdout(out), &log)?;
        Ok(Locust { program, report })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.program.id()
    }

    /// Waits until its report says something, and gives the report.
    pub fn until(&mut self, what: &str, patience: Duration, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let said = wait::until(what, patience, || {
            let report = self.report().unwrap_or_default();
            if is_so(&report) { Some(Some(report)) } else { (!self.program.is_running()).then_some(None) }
        });
        said.and_then(|said| said.context("it has ended"))
            .with_context(|| format!("{:#}\n{}", self.report().unwrap_or_default(), self.program.log_tail()))
    }

    fn report(&self) -> Result<Value> {
        Ok(serde_json::from_str(&std::fs::read_to_string(&self.report)?)?)
    }

    /// Ends it, and gives its last report.
    pub fn end(mut self) -> Result<Value> {
        let status = self.program.terminate(wait::PATIENCE)?;
        ensure!(status.success(), "{status}\n{}", self.program.log_tail());
        self.report()
    }
}

/// How many users give so many connections: nine have eighteen.
pub fn users_for(connections: usize) -> usize {
    connections.div_ceil(18) * 9
}

/// What the readers of all rooms must have got together, of a fleet that published so many records in each room.
pub fn expected(report: &Value, records_per_room: u64) -> Option<u64> {
    let rooms = report["rooms"].as_object()?;
    rooms.values().map(|room| Some(room["clients"].as_u64()? * records_per_room)).sum()
}

/// What they have got.
pub fn received(report: &Value) -> Option<u64> {
    report["rooms"].as_object()?.values().map(|room| room["telemetry"].as_u64()).sum()
}

/// `client.proto` and what it imports, for libraries that make their classes as they run.
fn descriptors() -> Result<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests live one folder below the root");
    let mut compiler = protox::Compiler::new([root.join("proto/proto")])?;
    compiler.include_imports(true).open_file("lockgate/v1/client.proto")?;
    Ok(compiler.encode_file_descriptor_set())
}
