//! Commands to a device on a pseudo-terminal: written on the port that is read, and replied to.

use lockgate_proto::command::{Answer, FailureKind, Fields};
use tokio::sync::mpsc;

use super::*;
use crate::commands::testing::job;
use crate::commands::{Answered, Hands as _};
use crate::testing::profile_of;

const PROFILE: &str = r##"
framing = "lines"
decode = { kind = "key-value", between = " ", bare = "position" }
device = "hall"

[[command]]
name = "set-point"
timeout = "20s"
write = "SET $id $celsius"
argument = [{ name = "celsius", type = "number", range = [5, 30] }]

[[command]]
name = "blink"
write = "BLINK"
reply = false

[[command]]
name = "sleep"
timeout = "50ms"
write = "SLEEP $id"

[[reply]]
starts = "OK"
id = "#1"
says = "success"

[[reply]]
starts = "PROGRESS"
id = "#1"
says = "progress"
percent = "P"

[[reply]]
starts = "NO"
id = "#1"
says = "refused"
reason = "WHY"

[[value]]
key = "T"
metric = "temperature"
"##;

impl World {
    fn tell(&self, id: &str, name: &str, arguments: &[(&str, Value)]) -> mpsc::Receiver<Answered> {
        let (job, answers) = job(id, "hall", name, arguments);
        self.directory.borrow_mut().take(job).expect("the source takes it");
        answers
    }
}

impl Device {
    /// The next line that the device is told.
    async fn hear(&mut self) -> String {
        use std::io::Read as _;
        let flags = rustix::fs::fcntl_getfl(&self.line).unwrap();
        rustix::fs::fcntl_setfl(&self.line, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let mut byte = [0];
            match self.line.read(&mut byte) {
                Ok(_) => line.push(byte[0]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }
}

async fn answer(answers: &mut mpsc::Receiver<Answered>) -> Answer {
    answers.recv().await.expect("the job is answered").answer
}

fn kind(answer: Answer) -> FailureKind {
    match answer {
        Answer::Failed(failure) => failure.kind,
        other => panic!("{other:?} is no failure"),
    }
}

#[tokio::test]
async fn what_a_device_replies_is_the_answer_and_its_readings_go_on_beside_it() {
    let mut world = World::with(|folder| profile_of(folder, PROFILE));
    let mut device = Device::plug(&world.path);
    world
        .play(async |world| {
            world.until_up().await;
            let mut answers = world.tell("c-1", "set-point", &[("celsius", Value::Number(21.5))]);
            let heard = device.hear().await;
            let id = heard.strip_prefix("SET ").unwrap().strip_suffix(" 21.5").unwrap().to_owned();
            device.say(&format!("T=20.5\nPROGRESS {id} P=40\nT=20.6\nOK {id}\n"));
            assert!(matches!(answer(&mut answers).await, Answer::Progress(progress) if progress.percent == Some(40)));
            assert_eq!(answer(&mut answers).await, Answer::Succeeded(Fields::default()));
            let mut refused = world.tell("c-2", "set-point", &[("celsius", Value::Integer(6))]);
            let heard = device.hear().await;
            let id = heard.split(' ').nth(1).unwrap().to_owned();
            device.say(&format!("NO {id} WHY=frost\n"));
            let Answer::Failed(failure) = answer(&mut refused).await else { panic!("it was refused") };
            assert_eq!((failure.kind, &*failure.reason), (FailureKind::Refused, "frost"));
            world.bench.until_records(1).await;
        })
        .await;
    assert_eq!(world.view.counters.readings.get(), 2);
    assert_eq!(world.view.counters.dead_letters.get(), 0, "a reply is no garbage");
}

#[tokio::test]
async fn a_device_that_says_nothing_and_one_that_need_not_are_told_apart() {
    let mut world = World::with(|folder| profile_of(folder, PROFILE));
    let mut device = Device::plug(&world.path);
    world
        .play(async |world| {
            world.until_up().await;
            let mut blinked = world.tell("c-1", "blink", &[]);
            assert_eq!(device.hear().await, "BLINK");
            assert_eq!(answer(&mut blinked).await, Answer::Succeeded(Fields::default()));
            let mut slept = world.tell("c-2", "sleep", &[]);
            assert!(device.hear().await.starts_with("SLEEP "));
            assert_eq!(kind(answer(&mut slept).await), FailureKind::NoReply);
        })
        .await;
}

#[tokio::test]
async fn what_can_not_be_written_is_put_off_or_told_and_never_reaches_the_device() {
    let mut world = World::with(|folder| profile_of(folder, PROFILE));
    world
        .play(async |world| {
            world.until_says("is the device plugged in?").await;
            let mut early = world.tell("c-1", "blink", &[]);
            assert!(matches!(answer(&mut early).await, Answer::Busy { .. }), "nothing was done, and it is asked again");
            let mut device = Device::plug(&world.path);
            world.until_up().await;
            let mut hot = world.tell("c-2", "set-point", &[("celsius", Value::Integer(99))]);
            assert_eq!(kind(answer(&mut hot).await), FailureKind::NotSent);
            let mut unknown = world.tell("c-3", "dance", &[]);
            assert_eq!(kind(answer(&mut unknown).await), FailureKind::Unsupported);
            let mut told = world.tell("c-4", "set-point", &[("celsius", Value::Integer(9))]);
            assert!(device.hear().await.ends_with(" 9"), "the first thing that the device hears");
            device.unplug();
            assert_eq!(kind(answer(&mut told).await), FailureKind::NoReply);
        })
        .await;
}

#[tokio::test]
async fn a_device_that_no_source_has_is_not_told_anything() {
    let world = World::with(|folder| profile_of(folder, PROFILE));
    let (job, _) = job("c", "garden", "blink", &[]);
    let refused = world.directory.borrow_mut().take(job).unwrap_err();
    assert_eq!(kind(refused), FailureKind::Unsupported);
}
