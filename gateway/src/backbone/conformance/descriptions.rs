//! Descriptions: the newest in the order of the agent holds, and tags select.

use std::future::Future;
use std::sync::Arc;

use lockgate_proto::convert::decode_entry;
use lockgate_proto::entry::{EntryBody, EntryKind};
use lockgate_proto::ids::Tag;
use lockgate_proto::seq::Lane;

use super::agent::{Agent, device, log_of, room};
use super::{Keep, World};
use crate::backbone::Backbone;

type Made = Box<dyn World>;

/// The commands that a device is known to take.
async fn takes(backbone: &Arc<dyn Backbone>, name: &str) -> Option<Vec<String>> {
    let description = backbone.description(&room("plant"), &device(name)).await.unwrap()?;
    assert_eq!(description.device, device(name));
    Some(description.commands.iter().map(|command| command.name.to_string()).collect())
}

/// The devices that have a tag, by the whole list and by its pages.
async fn tagged(backbone: &Arc<dyn Backbone>, tag: &str) -> Vec<String> {
    let tag = Tag::new(tag).unwrap();
    let all = backbone.devices(&room("plant")).await.unwrap();
    let all = all.into_iter().filter(|device| device.tags.contains(&tag)).map(|device| device.device.to_string());
    let all: Vec<String> = all.collect();
    let by_tag = backbone.tagged(&room("plant"), &tag).await.unwrap();
    assert_eq!(by_tag.iter().map(ToString::to_string).collect::<Vec<_>>(), all);
    all
}

pub(crate) async fn a_device_is_what_it_was_last_described_as<F: Future<Output = Made>>(make: impl Fn(Keep) -> F) {
    let mut world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    assert_eq!(takes(&world.backbone(), "pump").await, None);
    let (early, late) = (agent.number(Lane::Events), agent.number(Lane::Events));
    let newer = agent.described(late, "pump", "run", &["wet", "hall 1"], false);
    let of_fan = agent.number(Lane::Events);
    let fan = agent.described(of_fan, "fan", "spin", &["hall 1"], false);
    agent.stored(vec![newer, fan]).await;
    // It comes later and was told before.
    let older = agent.described(early, "pump", "walk", &["dry"], false);
    agent.stored(vec![older]).await;
    let log = log_of(&world.backbone(), &room("plant")).await;
    assert_eq!(log.iter().map(|entry| entry.kind).collect::<Vec<_>>(), [EntryKind::Description; 3]);
    let EntryBody::Description(told) = decode_entry(log[2].bytes.clone()).unwrap().body else { panic!() };
    assert!(told.has_tag(&Tag::new("dry").unwrap()), "the log has what was told, whatever holds");
    for crash in [false, true] {
        if crash {
            world.crash().await;
        }
        let backbone = world.backbone();
        assert_eq!(takes(&backbone, "pump").await, Some(vec!["run".to_owned()]));
        assert_eq!(tagged(&backbone, "hall 1").await, ["fan", "pump"]);
        assert_eq!(tagged(&backbone, "wet").await, ["pump"]);
        assert_eq!(tagged(&backbone, "dry").await, [""; 0]);
        let listed = backbone.devices(&room("plant")).await.unwrap();
        assert_eq!(listed.iter().map(|device| device.metrics).collect::<Vec<_>>(), [0, 0]);
        assert!(
            listed.iter().all(|device| device.last_seen.is_none()),
            "telling what a device is says not that it is there"
        );
    }
}

pub(crate) async fn values_and_descriptions_of_a_device_do_not_disturb_each_other<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let mut world = make(Keep::default()).await;
    let mut agent = Agent::open(&world.backbone(), &room("plant"), "pi", 1).await;
    agent.store("pump", 1).await;
    let seq = agent.number(Lane::Events);
    let both = vec![agent.described(seq, "pump", "run", &["wet"], false), agent.telemetry("pump", &[("level", 7)])];
    agent.stored(both).await;
    agent.store("pump", 3).await;
    world.crash().await;
    let backbone = world.backbone();
    assert_eq!(takes(&backbone, "pump").await, Some(vec!["run".to_owned()]));
    let listed = backbone.devices(&room("plant")).await.unwrap();
    assert_eq!((listed.len(), listed[0].metrics, listed[0].tags.len()), (1, 1, 1));
    // Another description takes the tags with it.
    let mut agent = Agent::open(&backbone, &room("plant"), "pi", 2).await;
    let seq = agent.number(Lane::Events);
    let bare = agent.described(seq, "pump", "run", &[], false);
    agent.stored(vec![bare]).await;
    assert_eq!(tagged(&backbone, "wet").await, [""; 0]);
}

pub(crate) async fn a_device_that_goes_over_is_what_its_new_agent_says<F: Future<Output = Made>>(
    make: impl Fn(Keep) -> F,
) {
    let mut world = make(Keep::default()).await;
    let backbone = world.backbone();
    let mut old = Agent::open(&backbone, &room("plant"), "old", 1).await;
    // Of the second epoch: of a higher order than anything that the other agent will say.
    let mut old = {
        old.store("pump", 9).await;
        Agent::open(&backbone, &room("plant"), "old", 2).await
    };
    let seq = old.number(Lane::Events);
    let of_old = old.described(seq, "pump", "walk", &["dry"], false);
    old.stored(vec![of_old]).await;
    let mut new = Agent::open(&backbone, &room("plant"), "new", 3).await;
    let seq = new.number(Lane::Events);
    let history = new.described(seq, "pump", "crawl", &[], true);
    new.stored(vec![history]).await;
    assert_eq!(takes(&backbone, "pump").await, Some(vec!["walk".to_owned()]), "backlog takes over nothing");
    new.store("pump", 1).await;
    assert_eq!(takes(&backbone, "pump").await, Some(vec!["walk".to_owned()]), "until the new agent says otherwise");
    world.crash().await;
    let backbone = world.backbone();
    let mut new = Agent::open(&backbone, &room("plant"), "new", 4).await;
    let seq = new.number(Lane::Events);
    let of_new = new.described(seq, "pump", "run", &["wet"], false);
    new.stored(vec![of_new]).await;
    assert_eq!(takes(&backbone, "pump").await, Some(vec!["run".to_owned()]));
    assert_eq!(tagged(&backbone, "dry").await, [""; 0]);
}
