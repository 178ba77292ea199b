//! Rules about what depends on what.

use crate::tree::Tree;

/// `deny.toml` is the list; it is also checked here because the tool that reads it takes minutes to build.
pub(crate) fn bans_hold(tree: &Tree) -> Vec<String> {
    let deny: toml::Table = tree.file("deny.toml").text.parse().expect("deny.toml is TOML");
    let lock_file = tree.file("Cargo.lock");
    let lock: toml::Table = lock_file.text.parse().expect("Cargo.lock is TOML");
    let text =
        |value: &toml::Value, key: &str| value.get(key).and_then(|item| item.as_str()).unwrap_or_default().to_owned();
    let banned: Vec<String> =
        deny["bans"]["deny"].as_array().into_iter().flatten().map(|ban| text(ban, "crate")).collect();
    assert!(banned.len() >= 5, "deny.toml bans {banned:?} only; was its form changed?");
    let mut offences = Vec::new();
    for package in lock["package"].as_array().into_iter().flatten() {
        let name = text(package, "name");
        if banned.contains(&name) {
            offences.push(lock_file.offence(1, format_args!("{name} is banned by deny.toml")));
        }
        let source = text(package, "source");
        if source.starts_with("git+") {
            offences.push(lock_file.offence(1, format_args!("{name} comes from a repository, not from the registry")));
        }
    }
    offences
}

/// Which of our packages each one may use. A new edge is a decision, and is made here.
const LAYERS: [(&str, &[&str]); 9] = [
    ("proto", &[]),
    ("config", &[]),
    ("token", &["lockgate-proto"]),
    ("codec", &["lockgate-proto", "lockgate-config"]),
    ("runtime", &["lockgate-proto"]),
    // Of `token` what needs no key: the agent reads what its own token says.
    ("edge-agent", &["lockgate-proto", "lockgate-config", "lockgate-codec", "lockgate-token", "lockgate-runtime"]),
    ("gateway", &["lockgate-proto", "lockgate-config", "lockgate-token", "lockgate-runtime"]),
    ("client", &["lockgate-proto", "lockgate-token", "lockgate-runtime"]),
    ("firmware-sim", &["lockgate-proto", "lockgate-token", "lockgate-runtime"]),
];

pub(crate) fn layers_hold(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for (package, allowed) in LAYERS {
        let file = tree.file(&format!("{package}/Cargo.toml"));
        let manifest: toml::Table = file.text.parse().expect("a manifest that cargo reads is TOML");
        let used = manifest["dependencies"].as_table().into_iter().flat_map(toml::Table::keys);
        for name in used.filter(|name| name.starts_with("lockgate-") && !allowed.contains(&name.as_str())) {
            offences.push(file.offence(1, format_args!("{package} may not depend on {name}")));
        }
    }
    offences
}

/// Of our packages, the only one that speaks JSON on the wire; an agent would grow by it and never use it.
const SPEAKS_JSON: &str = "gateway";

pub(crate) fn agents_carry_no_json(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for (package, _) in LAYERS.iter().filter(|(package, _)| *package != SPEAKS_JSON) {
        let file = tree.file(&format!("{package}/Cargo.toml"));
        let turns_on = |line: &str| line.starts_with("lockgate-proto") && line.contains("\"json\"");
        let turned_on = file.lines().filter(|(_, text)| turns_on(text));
        offences.extend(turned_on.map(|(line, _)| {
            file.offence(line, format_args!("only {SPEAKS_JSON} turns on the feature json of lockgate-proto"))
        }));
    }
    offences
}
