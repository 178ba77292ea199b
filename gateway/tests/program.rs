//! The program as a user starts it: where it listens, what it leaves, how it ends.
#![allow(clippy::unwrap_used, reason = "all of this is test code, where an unwrap that fails is the test that fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lockgate-gateway");

fn program(data: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--metrics-listen", "127.0.0.1:0", "--print-listen", "--data"]).arg(data);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn terminate(child: Child) -> Output {
    let killed = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
    assert!(killed.success());
    child.wait_with_output().unwrap()
}

#[test]
fn it_runs_without_a_configuration_and_ends_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut child = program(&data).args(["--listen", "127.0.0.1:0"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let printed: serde_json::Value = serde_json::from_str(&line).unwrap();
    let written = std::fs::read_to_string(data.join("listen.json")).unwrap();
    assert_eq!(written, line);
    assert_eq!(printed["pid"], child.id());
    let listen = printed["listen"].as_str().unwrap();
    assert!(get(listen, "/readyz").starts_with("HTTP/1.1 200"));
    assert!(get(printed["metrics"].as_str().unwrap(), "/metrics").contains("lockgate_gateway_backbone_up 1"));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data.join("token.key")), 0o600);
    assert_eq!(mode(&data), 0o700);

    let second = program(&data).args(["--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1), "two gateways on one folder");

    let output = terminate(child);
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(!data.join("listen.json").exists());
}

#[test]
fn a_taken_port_is_told_with_the_option_that_changes_it() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = program(folder.path()).args(["--listen", &address]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains(&address) && told.contains("--listen"), "{told}");
}

#[test]
fn a_port_without_an_address_is_told_with_the_address_that_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let output = program(folder.path()).args(["--listen", "8090"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(told.contains("--listen") && told.contains("127.0.0.1:8090"), "{told}");
}

#[test]
fn what_went_wrong_is_told_once_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        Command::new(PROGRAM).args(["check", "--config", "absent.toml"]).current_dir(&folder).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(told.matches("No such file").count(), 1, "{told}");
    assert_eq!(output.status.code(), Some(2), "as where the file has a fault");
    let output = program(folder.path()).args(["--log", "loud"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "as where any other option is wrong");
}

#[test]
fn help_tells_the_exit_codes() {
    let output = Command::new(PROGRAM).arg("--help").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("Exit codes:\n  0  "));
}

#[test]
fn check_shows_every_fault_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Command::new(PROGRAM).args(["check", "--config"]).arg(&path).output().unwrap()
    };
    let good = check("[server]\nlisten = \"127.0.0.1:0\"\n");
    assert_eq!(good.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&good.stdout).contains("all is well"));
    let bad = check("[server]\nlisten = 8080\n[clients]\n");
    let told = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert_eq!(bad.status.code(), Some(2));
    assert!(told.contains("gateway.toml:2") && told.contains("gateway.toml:3") && told.contains("client"), "{told}");
}
