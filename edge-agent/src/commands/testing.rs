//! An executor for tests: on a disk in memory, with hands of the test's own.

use lockgate_proto::command::{Attempt, BootId, Command, CommandId, ExecutorConfig, Field, Fields, Priority};
use lockgate_proto::ids::{CommandName, DeviceName, FieldName, UserName};
use lockgate_proto::reading::Value;
use lockgate_proto::time::UnixMicros;
use lockgate_runtime::Supervisor;
use lockgate_runtime::clock::Clock;
use tokio::sync::mpsc;

use super::task::Opened;
use super::{Answer, Answered, CommandsHandle, Hands, Job};
use crate::queue::storage::fake::FakeDisk;

/// Hands that pass each job on to a test.
pub(crate) struct Passed(pub(crate) mpsc::Sender<Job>);

impl Hands for Passed {
    fn take(&mut self, job: Job) -> Result<(), Answer> {
        self.0.try_send(job).expect("the test listens");
        Ok(())
    }
}

/// A start of the executor on this disk. It ends when the supervisor is dropped with the runtime, or told to stop.
pub(crate) fn start(
    disk: &FakeDisk,
    boot: BootId,
    clock: Clock,
    hands: Box<dyn Hands>,
) -> (CommandsHandle, Supervisor) {
    let config = ExecutorConfig::new(boot);
    let opened = Opened::on(Box::new(disk.clone()), config, lockgate_runtime::random).expect("the disk is well");
    let supervisor = Supervisor::new();
    (opened.start(&supervisor, clock, hands), supervisor)
}

/// A first attempt at a command of this id, and what is said to it.
pub(crate) fn job(id: &str, device: &str, name: &str, arguments: &[(&str, Value)]) -> (Job, mpsc::Receiver<Answered>) {
    let field =
        |(name, value): &(&str, Value)| Field { name: FieldName::new(name).expect("a name"), value: value.clone() };
    let command = Command {
        id: CommandId::new(id).expect("an id"),
        device: DeviceName::new(device).expect("a name"),
        name: CommandName::new(name).expect("a name"),
        arguments: Fields::new(arguments.iter().map(field)).expect("they are few"),
        idempotent: false,
        priority: Priority::Normal,
        deadline: UnixMicros(i64::MAX),
        sender: UserName::new("ada").expect("a name"),
    };
    let (answers, answered) = mpsc::channel(16);
    (Job { command, attempt: Attempt(1), answers }, answered)
}
