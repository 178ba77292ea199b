//! The other instances on the same backbone: each says there where it is reached, and looks for the others.

use std::sync::Arc;

use lockgate_proto::ids::InstanceId;
use lockgate_runtime::Supervisor;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::backbone::{Backbone, BackboneError, Instance};
use crate::config::{ServerConfig, Service};
use crate::limits::INSTANCE_LEASE;

/// What is known of the other instances; cheap to clone.
#[derive(Clone)]
pub(crate) struct Neighbours(watch::Receiver<Vec<Instance>>);

impl Neighbours {
    /// Starts the task that says where this instance is reached, if it was told, and looks for the others.
    pub(crate) fn start(
        backbone: &Arc<dyn Backbone>,
        id: InstanceId,
        server: &ServerConfig,
        supervisor: &Supervisor,
    ) -> Neighbours {
        let (known, neighbours) = watch::channel(Vec::new());
        let (edge, client) = (server.serve.has(Service::Edge), server.serve.has(Service::Client));
        let own = server.advertise.clone().map(|url| Instance { id, url, edge, client });
        let task = Task { backbone: Arc::clone(backbone), own, known };
        supervisor.spawn("neighbours", |stop| async move {
            task.run(stop).await;
            Ok(())
        });
        Neighbours(neighbours)
    }

    /// All instances that were there when it was last looked; this one may be among them.
    pub(crate) fn known(&self) -> Vec<Instance> {
        self.0.borrow().clone()
    }
}

struct Task {
    backbone: Arc<dyn Backbone>,
    /// `None`: where this one is reached, nobody has said.
    own: Option<Instance>,
    known: watch::Sender<Vec<Instance>>,
}

impl Task {
    /// Works until the gateway stops; then nobody is to be sent here.
    async fn run(self, stop: CancellationToken) {
        loop {
            if let Err(error) = self.look().await {
                // Who was there before the backbone was lost will most likely be there after.
                debug!(%error, "Cannot look for other instances; trying again.");
            }
            if stop.run_until_cancelled(tokio::time::sleep(INSTANCE_LEASE / 3)).await.is_none() {
                break;
            }
        }
        if let Some(own) = &self.own
            && let Err(error) = self.backbone.announce(own, std::time::Duration::ZERO).await
        {
            debug!(%error, "Cannot say that this instance leaves; its lease ends it.");
        }
    }

    async fn look(&self) -> Result<(), BackboneError> {
        if let Some(own) = &self.own {
            self.backbone.announce(own, INSTANCE_LEASE).await?;
        }
        self.known.send_replace(self.backbone.instances().await?);
        Ok(())
    }
}
