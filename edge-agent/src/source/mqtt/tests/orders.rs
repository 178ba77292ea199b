//! Commands by way of a scripted broker: published, confirmed, replied to, or lost with the connection.

use lockgate_proto::command::{Answer, FailureKind, Fields};
use lockgate_proto::reading::Value;
use rumqttc::PubAck;
use tokio::sync::mpsc;

use super::*;
use crate::commands::testing::job;
use crate::commands::{Answered, Hands as _};
use crate::testing::profile_of;

const PROFILE: &str = r#"
decode = "json"

[[route]]
topic = "zigbee2mqtt/{device}"
value = [{ key = "t", metric = "temperature" }]

[[command]]
name = "open"
topic = "zigbee2mqtt/$device/set"
timeout = "20s"
write = { id = "$id", valve = "$percent" }
argument = [{ name = "percent", type = "integer", range = [0, 100] }]

[[command]]
name = "identify"
topic = "zigbee2mqtt/$device/identify"
write = "now"
reply = false

[[reply]]
topic = "zigbee2mqtt/{device}/reply"
id = "id"
says = "success"
result = { percent = "valve" }
"#;

impl World {
    async fn ordering() -> World {
        World::with(Duration::from_millis(5), 20, Redelivery::Marked, |folder| profile_of(folder, PROFILE)).await
    }

    fn tell(&self, id: &str, device: &str, name: &str, arguments: &[(&str, Value)]) -> mpsc::Receiver<Answered> {
        let (job, answers) = job(id, device, name, arguments);
        self.directory.borrow_mut().take(job).expect("the source takes it");
        answers
    }

    async fn until_up(&self) {
        self.view.until(|state| *state == SourceState::Up).await;
    }
}

impl Conversation {
    /// The next message that is published; it is confirmed if the script says so.
    async fn take(&mut self, confirmed: bool) -> Publish {
        let Packet::Publish(publish) = self.hear().await else { panic!("a command comes") };
        assert_eq!((publish.qos, publish.retain), (QoS::AtLeastOnce, false));
        if confirmed {
            self.say(Packet::PubAck(PubAck { pkid: publish.pkid })).await;
        }
        publish
    }
}

async fn answer(answers: &mut mpsc::Receiver<Answered>) -> Answer {
    answers.recv().await.expect("the job is answered").answer
}

#[tokio::test]
async fn the_devices_reply_is_the_answer_and_where_none_is_awaited_the_brokers_word() {
    let mut world = World::ordering().await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            world.until_up().await;
            let mut opened = world.tell("c-1", "valve", "open", &[("percent", Value::Integer(40))]);
            let told = conversation.take(true).await;
            assert_eq!(told.topic, "zigbee2mqtt/valve/set");
            let told = String::from_utf8(told.payload.to_vec()).unwrap();
            let id = told.strip_prefix("{\"id\":").unwrap().split(',').next().unwrap().to_owned();
            conversation.publish(1, false, "valve/reply", &format!("{{\"id\":{id},\"valve\":40}}")).await;
            let Answer::Succeeded(result) = answer(&mut opened).await else { panic!("it was done") };
            assert_eq!(result.get("percent"), Some(&Value::Integer(40)));
            assert_eq!(conversation.hear_ack().await, 1);
            let mut identified = world.tell("c-2", "valve", "identify", &[]);
            assert_eq!(conversation.take(true).await.payload, "now");
            assert_eq!(answer(&mut identified).await, Answer::Succeeded(Fields::default()));
        })
        .await;
}

#[tokio::test]
async fn what_the_broker_never_confirmed_is_not_published_again_and_a_reply_still_counts() {
    let mut world = World::ordering().await;
    world
        .play(async |world, _| {
            let mut conversation = world.broker.accept_new().await;
            world.until_up().await;
            let mut identified = world.tell("c-1", "valve", "identify", &[]);
            conversation.take(false).await;
            let mut opened = world.tell("c-2", "valve", "open", &[("percent", Value::Integer(7))]);
            conversation.take(false).await;
            drop(conversation);
            let lost = answer(&mut identified).await;
            assert!(matches!(lost, Answer::Failed(failure) if failure.kind == FailureKind::NoReply));
            let mut early = world.tell("c-3", "valve", "identify", &[]);
            assert!(matches!(answer(&mut early).await, Answer::Busy { .. }), "without a broker it is put off");
            let (mut conversation, _) = world.broker.accept(true).await;
            conversation.publish(1, false, "valve/reply", "{\"id\":\"c-2\"}").await;
            assert_eq!(answer(&mut opened).await, Answer::Succeeded(Fields::default()));
            assert_eq!(conversation.hear_ack().await, 1, "nothing was published before");
        })
        .await;
}
