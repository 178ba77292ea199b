//! Who brings a command to its device.

use lockgate_proto::command::{Answer, Failure, FailureKind};

use super::{Hands, Job};

/// The devices that can be told something.
#[derive(Default)]
pub struct Directory {}

impl Hands for Directory {
    fn take(&mut self, job: Job) -> Result<(), Answer> {
        let reason = format!("no source of this agent has the device {}", job.command.device);
        Err(Answer::Failed(Failure { kind: FailureKind::Unsupported, reason: reason.into() }))
    }
}
