//! An executor for tests: on a disk in memory, with hands of the test's own.

use lockgate_proto::command::{BootId, ExecutorConfig};
use lockgate_runtime::Supervisor;
use lockgate_runtime::clock::Clock;
use tokio::sync::mpsc;

use super::task::Opened;
use super::{Answer, CommandsHandle, Hands, Job};
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
