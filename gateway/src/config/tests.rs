//! What configuration files are read as.

use super::*;

const EXAMPLE: &str = include_str!("../../gateway.example.toml");

fn problems(text: &str) -> Vec<String> {
    let problems = Config::from_toml("gateway.toml", text).unwrap_err();
    problems.list().iter().map(lockgate_config::Problem::title).collect()
}

#[test]
fn the_example_spells_out_the_defaults() {
    assert_eq!(Config::from_toml("gateway.example.toml", EXAMPLE).unwrap(), Config::default());
    assert_eq!(Config::from_toml("gateway.toml", "").unwrap(), Config::default());
}

#[test]
fn the_example_names_every_key() {
    let keys = EXAMPLE.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count();
    assert_eq!(keys, 18, "a key that can be set is to be told of in gateway.example.toml");
}

#[test]
fn every_fault_is_told_at_once() {
    let text = "dato = 'x'\n[server]\nlisten = 'localhost'\nbacklog = 0\n[edge]\nping_interval = '1h'\n";
    let problems = problems(text);
    assert_eq!(problems.len(), 4, "{problems:#?}");
    for key in ["dato", "server.listen", "server.backlog", "edge.ping_interval"] {
        assert!(problems.iter().any(|problem| problem.contains(key)), "{key}: {problems:#?}");
    }
}

#[test]
fn the_key_lies_in_the_data_folder_unless_it_says_where() {
    let key_path = |text: &str| Config::from_toml("gateway.toml", text).unwrap().key_path();
    assert_eq!(key_path("data = 'd'"), PathBuf::from("d/token.key"));
    assert_eq!(key_path("[auth]\nkey_file = '/etc/lockgate/token.key'"), PathBuf::from("/etc/lockgate/token.key"));
}
