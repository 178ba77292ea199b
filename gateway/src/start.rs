//! Puts a gateway together: listeners, rooms, sessions over a given backbone, all as supervised tasks.

use std::sync::Arc;
use std::time::Duration;

use lockgate_proto::ids::InstanceId;
use lockgate_runtime::Supervisor;
use lockgate_runtime::clock::Clock;
use lockgate_token::SigningKey;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::attendance::{Attendance, AttendanceTask};
use crate::backbone::{Backbone, Health};
use crate::certificates::{self, CertificatesError};
use crate::commands::{Desk, SweepTask};
use crate::config::Config;
use crate::context::Context;
use crate::drain;
use crate::edge_session::Alarms;
use crate::limits::METRICS_CONNECTIONS_MAX;
use crate::metrics::{self, Figures, Gauge, InstallError};
use crate::neighbours::Neighbours;
use crate::room::Registry;
use crate::server::{self, Admission, Bound, Bounds, Door, ListenError, Turnstiles};

/// How often the recorder of metrics tidies up what nobody has scraped.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What a gateway is put together of.
pub struct Parts {
    /// The checked configuration.
    pub config: Config,
    /// Remembers everything.
    pub backbone: Arc<dyn Backbone>,
    /// Signs tokens.
    pub key: SigningKey,
    /// Tells the time.
    pub clock: Clock,
}

/// Why a gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening socket could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// It would be reached without TLS, or its certificate can't be used.
    #[error(transparent)]
    Certificates(#[from] CertificatesError),
    /// The figures could not be set up.
    #[error(transparent)]
    Metrics(#[from] InstallError),
}

/// Opens the listeners and starts all tasks under `supervisor`, which also stops them.
pub fn start(parts: Parts, supervisor: &Supervisor) -> Result<Bound, StartError> {
    let config = Arc::new(parts.config);
    let handle = metrics::install()?;
    let health = parts.backbone.health();
    // Before anyone can ask for it.
    Gauge::BackboneUp.set_flag(*health.borrow() == Health::Up);
    let tls = certificates::start(&config, supervisor)?;
    let listener = server::open(config.server.listen, config.server.backlog, "--listen")?;
    let metrics_listener = server::open(config.metrics.listen, 64, "--metrics-listen")?;
    let bound = Bound::of(&listener, &metrics_listener)?;

    let (registry, rooms) = Registry::new(Arc::clone(&parts.backbone), supervisor.clone(), config.client.coalesce);
    supervisor.spawn("rooms", |stop| async move {
        registry.run(stop).await;
        Ok(())
    });
    supervisor.spawn("backbone health", |stop| async move {
        watch_health(health, stop).await;
        Ok(())
    });
    let turnstiles = Turnstiles::new(parts.clock.clone());
    let instance = InstanceId(lockgate_runtime::random());
    let context = Context {
        config: Arc::clone(&config),
        attendance: attendance(&parts.backbone, instance, parts.clock.clone(), supervisor),
        desk: desk(&parts.backbone, parts.clock.clone(), supervisor),
        neighbours: Neighbours::start(&parts.backbone, instance, &config.server, supervisor),
        backbone: parts.backbone,
        rooms,
        alarms: Alarms::default(),
        lines: Arc::default(),
        turnstiles: turnstiles.clone(),
        key: Arc::new(parts.key),
        clock: parts.clock.clone(),
        drain: supervisor.draining(),
        sessions: TaskTracker::new(),
    };
    supervisor.spawn("turnstiles", |stop| async move {
        turnstiles.watch(stop).await;
        Ok(())
    });
    let sessions = context.sessions.clone();
    let door = Door {
        router: server::router(context, supervisor.clone()),
        tls,
        admission: Admission::new(Bounds::of(&config.server)),
        first_request_timeout: config.server.first_request_timeout,
        one_page: true,
        close_timeout: drain::close_timeout(&config.server),
        clock: parts.clock,
    };
    let metrics_door = Door {
        router: server::metrics_router(handle.clone()),
        tls: None,
        admission: Admission::new(Bounds::all(METRICS_CONNECTIONS_MAX)),
        one_page: false,
        ..door.clone()
    };
    accept(supervisor, "listener", listener, door, sessions.clone());
    accept(supervisor, "metrics listener", metrics_listener, metrics_door, sessions);
    supervisor.spawn("metrics upkeep", |stop| keep_up(handle, stop));
    info!(listen = %bound.listen, tls = config.tls.is_some(), metrics = %bound.metrics, "Gateway started.");
    Ok(bound)
}

/// Tidies up after figures that nobody has scraped.
async fn keep_up(figures: Figures, stop: CancellationToken) -> anyhow::Result<()> {
    while stop.run_until_cancelled(tokio::time::sleep(UPKEEP_INTERVAL)).await.is_some() {
        figures.run_upkeep();
    }
    Ok(())
}

/// Says from now on who is in which room here.
fn attendance(backbone: &Arc<dyn Backbone>, instance: InstanceId, clock: Clock, supervisor: &Supervisor) -> Attendance {
    let attendance = Attendance::new(clock);
    let task = AttendanceTask { attendance: attendance.clone(), backbone: Arc::clone(backbone), instance };
    supervisor.spawn("attendance", |stop| async move {
        task.run(stop).await;
        Ok(())
    });
    attendance
}

/// Takes commands from now on, and ends those that are overdue.
fn desk(backbone: &Arc<dyn Backbone>, clock: Clock, supervisor: &Supervisor) -> Desk {
    let desk = Desk::new(Arc::clone(backbone), supervisor.clone(), clock);
    let task = SweepTask { desk: desk.clone() };
    supervisor.spawn("overdue commands", |stop| async move {
        task.run(stop).await;
        Ok(())
    });
    desk
}

/// Accepts for as long as there are sessions, also while they are being sent away: whoever probes us then hears why
/// nobody is let in.
fn accept(
    supervisor: &Supervisor,
    name: &'static str,
    listener: tokio::net::TcpListener,
    door: Door,
    sessions: TaskTracker,
) {
    let connections = supervisor.clone();
    supervisor.spawn(name, |draining| async move {
        let stop = CancellationToken::new();
        let last_session = async {
            draining.cancelled().await;
            sessions.close();
            sessions.wait().await;
            stop.cancel();
        };
        let accepting = server::accept(listener, door, stop.clone(), |connection| {
            connections.spawn("connection", |_| async move {
                connection.await;
                Ok(())
            });
        });
        tokio::join!(accepting, last_session);
        Ok(())
    });
}

/// Shows in logs and figures whether the backbone is there.
async fn watch_health(mut health: tokio::sync::watch::Receiver<Health>, stop: CancellationToken) {
    loop {
        match health.borrow_and_update().clone() {
            Health::Up => {
                Gauge::BackboneUp.set_flag(true);
                info!("The backbone is available.");
            }
            Health::Down { reason } => {
                Gauge::BackboneUp.set_flag(false);
                warn!(reason, "The backbone is not available; agents keep their records until it is.");
            }
        }
        match stop.run_until_cancelled(health.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) | None => return,
        }
    }
}
