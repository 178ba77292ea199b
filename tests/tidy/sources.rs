//! Rules about source files.

use crate::tree::{SourceFile, Tree};

const LINES_MAX: usize = 600;

/// A newcomer reads the first line to learn whether to read on.
pub(crate) fn opens_with_a_purpose(tree: &Tree) -> Vec<String> {
    let silent = |file: &&SourceFile| !file.text.starts_with("//! ");
    tree.rust().filter(silent).map(|file| file.offence(1, "start with `//! ` and what the file is for")).collect()
}

pub(crate) fn stays_short(tree: &Tree) -> Vec<String> {
    let long = |file: &&SourceFile| file.text.lines().count() > LINES_MAX;
    let offence = |file: &SourceFile| file.offence(LINES_MAX, "more than 600 lines: there is a second idea in it");
    tree.rust().filter(long).map(offence).collect()
}

/// Words are put together here, so that this file does not offend against itself.
fn unfinished_marks() -> Vec<String> {
    [("TO", "DO"), ("FIX", "ME"), ("todo", "!("), ("unimplemented", "!("), ("#[ig", "nore"), ("#[should_", "panic")]
        .map(|(head, tail)| format!("{head}{tail}"))
        .to_vec()
}

pub(crate) fn is_finished(tree: &Tree) -> Vec<String> {
    let marks = unfinished_marks();
    let mut offences = Vec::new();
    for file in tree.rust() {
        for (line, text) in file.lines() {
            offences.extend(marks.iter().filter(|mark| text.contains(*mark)).map(|mark| file.offence(line, mark)));
        }
    }
    offences
}

/// A sleep is either too short on a busy machine or too long on every other.
pub(crate) fn tests_do_not_sleep(tree: &Tree) -> Vec<String> {
    let is_call = |text: &str| {
        let word = format!("{}(", "sleep");
        text.match_indices(&word)
            .any(|(at, _)| !text[..at].ends_with(|before: char| before == '_' || before.is_alphanumeric()))
    };
    let mut offences = Vec::new();
    for file in tree.rust() {
        // Support code polls conditions, which takes a pause between two looks; only it may.
        if file.path == "tests/support/wait.rs" || file.path.starts_with("tests/tasks/") {
            continue;
        }
        let tests_start = if file.is_test() { 0 } else { file.lines_before_tests().count() };
        for (line, text) in file.lines().filter(|(line, _)| *line > tests_start) {
            if is_call(text) {
                offences.push(file.offence(line, "wait on a condition instead of a span of time"));
            }
        }
    }
    offences
}

pub(crate) fn silencers_have_reasons(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for file in tree.rust() {
        let lines: Vec<&str> = file.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let start = line.trim_start();
            let silences =
                ["#[allow(", "#![allow(", "#[expect(", "#![expect("].iter().any(|mark| start.starts_with(mark));
            if silences && !lines[at..].iter().take(8).any(|line| line.contains("reason = ")) {
                offences.push(file.offence(at + 1, "say why with `reason = \"…\"`"));
            }
        }
    }
    offences
}

/// Where every interleaving must be a unit test, nothing may wait or look at the world.
pub(crate) fn pure_code_is_pure(tree: &Tree) -> Vec<String> {
    const IMPURE: [&str; 9] = [
        "tokio",
        "Instant::now",
        "SystemTime",
        "std::fs",
        "std::net",
        "std::thread",
        "std::env::var",
        ".await",
        "Timestamp::now",
    ];
    let is_pure = |file: &&SourceFile| {
        let core = ["proto/src/", "codec/src/"].iter().any(|folder| file.path.starts_with(folder));
        (core || file.path.ends_with("_logic.rs")) && !file.is_test()
    };
    let mut offences = Vec::new();
    for file in tree.rust().filter(is_pure) {
        for (line, text) in file.lines_before_tests().filter(|(_, text)| !text.trim_start().starts_with("//")) {
            offences.extend(IMPURE.iter().filter(|word| text.contains(*word)).map(|word| {
                file.offence(line, format_args!("pure code names `{word}`; take what it gives as an argument"))
            }));
        }
    }
    offences
}

/// Changing a library is then a change of one file or folder.
pub(crate) fn foreign_names_stay_home(tree: &Tree) -> Vec<String> {
    const HOMES: [(&str, &[&str]); 12] = [
        ("jsonwebtoken", &["token/src/"]),
        ("rumqttc", &["edge-agent/src/source/mqtt", "edge-agent/tests/", "firmware-sim/", "tests/"]),
        ("rumqttd", &["firmware-sim/"]),
        ("tokio_serial", &["edge-agent/src/source/serial", "edge-agent/tests/"]),
        ("redis", &["gateway/src/backbone/redis/"]),
        ("utoipa", &["gateway/src/rest/"]),
        ("prost_types", &["proto/"]),
        ("pbjson", &["proto/"]),
        ("pbjson_build", &["proto/"]),
        ("rusqlite", &["gateway/src/backbone/embedded/"]),
        ("metrics_exporter_prometheus", &["gateway/src/metrics"]),
        ("tokio_tungstenite", &["runtime/src/", "gateway/src/"]),
    ];
    let mut offences = Vec::new();
    for file in tree.rust().filter(|file| !file.path.starts_with("tests/tidy/")) {
        for (name, homes) in HOMES {
            if homes.iter().any(|home| file.path.starts_with(home)) {
                continue;
            }
            let path = format!("{name}::");
            let names = |text: &str| {
                // A module of ours may have a library's name; then it stands behind another's.
                let begins = |at: usize| {
                    !text[..at].ends_with(|before: char| before == ':' || before == '_' || before.is_alphanumeric())
                };
                text.match_indices(&path).any(|(at, _)| begins(at))
            };
            let named = file.lines().filter(|(_, text)| !text.trim_start().starts_with("//") && names(text));
            offences
                .extend(named.map(|(line, _)| file.offence(line, format_args!("`{name}` is at home in {homes:?}"))));
        }
    }
    offences
}

/// People read what a program says: `Some(…)` is no value, and a cause that is told twice looks like two.
pub(crate) fn people_are_spoken_to(tree: &Tree) -> Vec<String> {
    const LOGS: [&str; 5] = ["error!(", "warn!(", "info!(", "debug!(", "trace!("];
    let is_debug = |text: &str| {
        let mut behind = text.match_indices('?').filter(|(at, _)| text[..*at].ends_with(['(', ' ']));
        behind.any(|(at, _)| text[at + 1..].starts_with(|next: char| next.is_ascii_lowercase()))
    };
    let mut offences = Vec::new();
    for file in tree.rust().filter(|file| !file.path.starts_with("tests/")) {
        for (line, text) in file.lines_before_tests() {
            if LOGS.iter().any(|log| text.contains(log)) && is_debug(text) {
                offences.push(file.offence(line, "a value in its debug form; log it as people write it, with `%`"));
            }
            if ["{error:#}", "{failure:#}"].iter().any(|chain| text.contains(chain)) {
                offences
                    .push(file.offence(line, "tells a cause twice where an error says it itself; use `words::chain`"));
            }
        }
    }
    offences
}

pub(crate) fn text_is_plain(tree: &Tree) -> Vec<String> {
    let ours = |file: &&SourceFile| {
        [".rs", ".toml", ".md", ".proto", ".sql", ".sh", ".ts", ".tsx", ".css"]
            .iter()
            .any(|end| file.path.ends_with(end))
    };
    let mut offences = Vec::new();
    for file in tree.files.iter().filter(ours) {
        if !file.text.ends_with('\n') {
            offences.push(file.offence(file.text.lines().count(), "end the file with a newline"));
        }
        for (line, text) in file.lines() {
            if text.ends_with([' ', '\t']) {
                offences.push(file.offence(line, "white space at the end of the line"));
            }
            if file.is_rust() && text.contains('\t') {
                offences.push(file.offence(line, "a tab; write `\\t` or spaces"));
            }
        }
    }
    offences
}
