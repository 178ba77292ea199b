//! What configuration files are read as.

use super::*;
use crate::backbone::redis::Durability;

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
    assert_eq!(keys, 28, "a key that can be set is to be told of in gateway.example.toml");
}

#[test]
fn the_example_tells_of_redis_as_it_is_read() {
    let lines = EXAMPLE.lines().skip_while(|line| *line != "# [redis]").take_while(|line| line.starts_with("# "));
    let section = lines.filter(|line| line.contains(" = ") || line.contains('[')).map(|line| &line[2..]);
    let text = section.collect::<Vec<_>>().join("\n");
    let redis = Config::from_toml("gateway.toml", &text).unwrap().redis.unwrap();
    assert_eq!(
        (redis.url.as_str(), redis.durability),
        ("redis://127.0.0.1:6379", Durability::Replicated { replicas: 1 })
    );
    assert!(redis.password_file.is_some() && redis.ca_file.is_some());
}

#[test]
fn the_example_tells_of_tls_as_it_is_read() {
    let lines = EXAMPLE.lines().skip_while(|line| *line != "# [tls]").take_while(|line| line.starts_with("# "));
    let text = lines.map(|line| &line[2..]).collect::<Vec<_>>().join("\n");
    let tls = Config::from_toml("gateway.toml", &text).unwrap().tls.unwrap();
    assert!(tls.agents_ca_file.is_some());
    assert!(problems("[tls]\ncert_file = 'c.pem'")[0].contains("tls.key_file"));
}

#[test]
fn who_can_be_reached_from_elsewhere_needs_tls_or_a_word() {
    let is_open = |text: &str| Config::from_toml("gateway.toml", text).unwrap().is_open_to_all();
    let open = "[server]\nlisten = '0.0.0.0:8080'\n";
    assert!(is_open(open) && is_open("[server]\nlisten = '[::]:0'"));
    assert!(!is_open("") && !is_open("[server]\nlisten = '[::1]:1'"));
    assert!(!is_open(&format!("{open}insecure = true")));
    assert!(!is_open(&format!("{open}[tls]\ncert_file = 'c.pem'\nkey_file = 'k.pem'")));
}

#[test]
fn a_redis_section_is_checked() {
    for (text, named) in [
        ("[redis]", "redis.url"),
        ("[redis]\nurl = 'localhost'", "redis.url"),
        ("[redis]\nurl = 'redis://h'\ndurability = 'disk'", "redis.durability"),
        ("[redis]\nurl = 'redis://h'\nreplicas = 2", "replicas"),
    ] {
        let problems = problems(text);
        assert!(problems.len() == 1 && problems[0].contains(named), "{text}: {problems:#?}");
    }
}

#[test]
fn an_instance_serves_what_it_is_told_and_at_least_something() {
    let serve = |text: &str| Config::from_toml("gateway.toml", text).unwrap().server.serve;
    let edge = serve("[server]\nserve = ['edge']");
    assert!(edge.has(Service::Edge) && !edge.has(Service::Client) && !edge.has(Service::Api));
    assert_eq!(edge.to_string(), "agents (/v1/edge)");
    assert!(Service::ALL.iter().all(|service| serve("").has(*service)));
    for text in ["[server]\nserve = []", "[server]\nserve = ['edges']", "[server]\nserve = 'edge'"] {
        assert!(problems(text)[0].contains("server.serve"), "{text}");
    }
}

#[test]
fn peers_are_addresses_of_gateways() {
    let text = "[server]\nadvertise = 'wss://a'\npeers = ['wss://a', 'wss://b']";
    let server = Config::from_toml("gateway.toml", text).unwrap().server;
    assert_eq!(server.advertise.as_ref(), server.peers.first());
    let problems = problems("[server]\nadvertise = 'a:1'\npeers = ['wss://a', 'http://b']");
    assert!(problems.len() == 2 && problems[1].contains("server.peers[1]"), "{problems:#?}");
}

#[test]
fn a_fault_in_an_optional_section_hides_no_other() {
    let problems = problems("[tls]\ncert_file = 'c'\n[redis]\nurl = 'h'\n[retention]\nbytes = 'lots'");
    assert_eq!(problems.len(), 3, "{problems:#?}");
    for key in ["tls.key_file", "redis.url", "retention.bytes"] {
        assert!(problems.iter().any(|problem| problem.contains(key)), "{key}: {problems:#?}");
    }
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
