//! Each device is described once: those that are named at the start, others when they are heard.

use lockgate_codec::{Decoded, Output};
use lockgate_proto::description::ValueKind;
use lockgate_proto::ids::MetricName;
use lockgate_proto::reading::{Quality, Value};
use lockgate_proto::record::Record;
use lockgate_proto::seq::{Lane, Seq};

use super::*;
use crate::commands::{Directory, OwnCommands};
use crate::config::Config;
use crate::source::status::StatusBoard;
use crate::testing::{Bench, profile_of, within_patience};

const NAMED: &str = r#"
framing = "lines"
decode = "json"
device = "pump"
tags = ["wet"]
units = { 'flow.*' = "L/min" }
value = [
    { key = "flow", type = "number" },
    { key = "state", metric = "is", type = "text" },
    { keys = 'x(\d)', metric = "x_$1" },
]
[[command]]
name = "stop"
write = "STOP"
"#;

const HEARD: &str = r#"
decode = "json"
[[route]]
topic = "t/{device}"
[[value]]
key = "a"
[[command]]
name = "blink"
devices = "lamp.*"
topic = "t/$device/set"
write = ""
reply = false
"#;

const CONFIG: &str = "[agent]\nname = \"house\"\nsite = \"s\"\n[uplink]\nurl = \"ws://127.0.0.1:1\"\ntoken = \"t\"\n";

fn reading(device: &str) -> Output {
    Output::Reading(Decoded {
        device: DeviceName::new(device).unwrap(),
        metric: MetricName::new("a").unwrap(),
        unit: None,
        value: Value::Integer(1),
        quality: Quality::Good,
        time: None,
        retained: false,
        historical: false,
    })
}

async fn until_described(bench: &Bench, count: u64) -> Vec<Description> {
    let mut progress = bench.queue.progress();
    let events = Lane::Events.index();
    progress.wait_for(|progress| progress.appended[events] >= Seq::new(count)).await.expect("the queue runs");
    let description = |record| match record {
        Record::Description(description) => description,
        other => panic!("{other:?} is no description"),
    };
    bench.records(Lane::Events).await.into_iter().map(description).collect()
}

#[tokio::test]
async fn named_devices_are_described_at_the_start_and_others_once_they_are_heard() {
    let bench = Bench::usual();
    let mut directory = Directory::default();
    directory.add("line", &profile_of(bench.folder.path(), NAMED));
    let heard = directory.add("broker", &profile_of(bench.folder.path(), HEARD));
    let config = Config::from_toml("agent.toml", CONFIG, bench.folder.path()).unwrap();
    let own = OwnCommands::new(DeviceName::new("house").unwrap(), &config, directory.restarts());
    let stop = CancellationToken::new();
    let status = StatusBoard::default().add("descriptions");
    let describer = directory.describer(&own).run(bench.ingest.clone(), status, stop.clone());
    let script = async {
        until_described(&bench, 2).await;
        heard.roster.heard(&[reading("lamp-1"), reading("door"), reading("lamp-1")]);
        until_described(&bench, 3).await;
        heard.roster.heard(&[reading("lamp-2"), reading("lamp-1")]);
        let all = until_described(&bench, 4).await;
        stop.cancel();
        all
    };
    let (ended, all) = within_patience(async { tokio::join!(describer, script) }).await;
    ended.unwrap();
    let names: Vec<&str> = all.iter().map(|description| description.device.as_str()).collect();
    assert_eq!(names, ["house", "pump", "lamp-1", "lamp-2"], "a door can't be told anything");
    let commands = |at: usize| all[at].commands.iter().map(|command| command.name.to_string()).collect::<Vec<_>>();
    assert_eq!(commands(0), ["restart-source", "report-config", "list-dead-letters"]);
    assert_eq!((commands(1), commands(2)), (vec!["stop".to_owned()], vec!["blink".to_owned()]));
    let metrics: Vec<_> =
        all[1].metrics.iter().map(|metric| (metric.name.as_str(), metric.unit.as_deref(), metric.kind)).collect();
    assert_eq!(metrics, [("flow", Some("L/min"), Some(ValueKind::Number)), ("is", None, Some(ValueKind::Text))]);
    assert_eq!(all[1].tags.iter().map(ToString::to_string).collect::<Vec<_>>(), ["wet"]);
}
