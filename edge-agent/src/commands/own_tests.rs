//! The agent as a device: what it does, what it says of itself, and what it keeps to itself.

use std::path::Path;

use super::*;
use crate::config::Config;

const CONFIG: &str = r#"
[agent]
name = "pump-house"
site = "plant-1"
[uplink]
url = "ws://127.0.0.1:8080"
token = "very-secret"
[[mqtt]]
name = "zigbee"
url = "mqtt://127.0.0.1:1883"
username = "u"
password = "very-secret"
profile = "zigbee2mqtt"
"#;

fn own(folder: &Path) -> (OwnCommands, Arc<Notify>) {
    let config = Config::from_toml("agent.toml", CONFIG, folder).unwrap();
    let restart = Arc::new(Notify::new());
    let sources = vec![("zigbee".to_owned(), Arc::clone(&restart))];
    (OwnCommands::new(DeviceName::new("pump-house").unwrap(), &config, sources), restart)
}

fn told(own: &OwnCommands, name: &str, arguments: &[(&str, Value)]) -> Result<Fields, Failure> {
    let field = |(name, value): &(&str, Value)| Field { name: FieldName::new(name).unwrap(), value: value.clone() };
    own.carry_out(&CommandName::new(name).unwrap(), &Fields::new(arguments.iter().map(field)).unwrap())
}

#[tokio::test]
async fn a_source_that_is_named_begins_anew_and_another_name_is_refused_with_those_there_are() {
    let (own, restart) = own(Path::new("/nowhere"));
    assert_eq!(told(&own, RESTART_SOURCE, &[("source", Value::Text("zigbee".into()))]), Ok(Fields::default()));
    restart.notified().await;
    let refused = told(&own, RESTART_SOURCE, &[("source", Value::Text("zigbe".into()))]).unwrap_err();
    assert_eq!(&*refused.reason, "source is \"zigbe\"; it may be \"zigbee\"");
    let unknown = told(&own, "dance", &[]).unwrap_err();
    assert_eq!(unknown.kind, FailureKind::Unsupported);
}

#[test]
fn the_reported_configuration_has_no_secret_in_it() {
    let (own, _) = own(Path::new("/etc/lockgate"));
    let report = told(&own, REPORT_CONFIG, &[]).unwrap();
    assert_eq!(report.get("agent.data"), Some(&Value::Text("/etc/lockgate/data".into())));
    let source = "mqtt://127.0.0.1:1883 as lockgate-pump-house-zigbee, profile zigbee2mqtt";
    assert_eq!(report.get("mqtt.zigbee"), Some(&Value::Text(source.into())));
    assert!(!format!("{report:?}").contains("very-secret"), "{report:?}");
}

#[test]
fn the_newest_dead_letters_come_first_and_no_more_than_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (own, _) = own(folder.path());
    assert_eq!(told(&own, LIST_DEAD_LETTERS, &[]), Ok(Fields::default()), "there are none");
    let lines = folder.path().join("data").join(DEAD_LETTERS_FOLDER);
    std::fs::create_dir_all(&lines).unwrap();
    let line = |detail: &str| {
        format!("{{\"at_us\":null,\"source\":\"s\",\"reason\":\"syntax\",\"detail\":\"{detail}\",\"input\":\"\"}}\n")
    };
    std::fs::write(lines.join("00000001.jsonl"), line("one") + &line("two") + &line("three")).unwrap();
    let letters = told(&own, LIST_DEAD_LETTERS, &[("count", Value::Integer(2))]).unwrap();
    let texts: Vec<String> = letters.iter().map(|field| format!("{:?}", field.value)).collect();
    assert_eq!(texts.len(), 2);
    assert!(texts[0].contains("s syntax: three") && texts[1].contains("two"), "{texts:?}");
    assert!(told(&own, LIST_DEAD_LETTERS, &[("count", Value::Integer(99))]).is_err());
}
