//! An agent of the fleet: publishes on schedule into its queue, and moves frames for the link of `proto`.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use lockgate_proto::backoff::Backoff;
use lockgate_proto::convert::{decode_gateway_frame, encode_agent_frame};
use lockgate_proto::ids::{AgentName, Site};
use lockgate_proto::link::agent::{Action, AgentConfig, AgentLink, Input};
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::time::MonoTime;
use lockgate_runtime::dial::{DialError, Dialer};
use lockgate_runtime::link::{Link, LinkOptions, Received};
use lockgate_runtime::tls::Trust;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::publisher::Publisher;
use super::queue_logic::LANE;
use super::reader::RECONNECT_BACKOFF;
use super::turn_logic::Turn;
use super::world::{World, count};

const PATH: &str = "/v1/edge";
const SUBPROTOCOL: &str = "lockgate.edge.v1";

/// One agent, through all its connections.
pub(super) struct Agent {
    world: Arc<World>,
    index: usize,
    token: String,
    link: AgentLink,
    publisher: Publisher,
    turn: Turn,
    backoff: Backoff,
    connections: u64,
    go_away: Option<Duration>,
    door: Option<OwnedSemaphorePermit>,
}

/// What the shell of one connection keeps.
struct Connection {
    link: Link,
    actions: VecDeque<Action>,
    timer: Option<MonoTime>,
    began: u64,
}

/// How a connection ended.
enum Ended {
    Leaving,
    Closed(Option<CloseCode>, String),
    Broken(String),
}

impl Agent {
    pub(super) fn new(world: Arc<World>, index: usize) -> anyhow::Result<Agent> {
        let site = Site::new(world.plan.site(world.plan.room_of(index)))?;
        let agent = AgentName::new(format!("{}-agent-{}", world.plan.name, index + 1))?;
        let token = world.agent_token(&site, &agent)?;
        let build = concat!("lockgate-sim ", env!("CARGO_PKG_VERSION")).to_owned();
        Ok(Agent {
            link: AgentLink::new(AgentConfig { agent, site, build }),
            publisher: Publisher::new(Arc::clone(&world), index)?,
            turn: Turn::new(&world.gateways, index),
            backoff: Backoff::new(RECONNECT_BACKOFF.0, RECONNECT_BACKOFF.1),
            world,
            index,
            token,
            connections: 0,
            go_away: None,
            door: None,
        })
    }

    /// Publishes until told to leave. Fails only where no attempt can help.
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        self.door = Some(Arc::clone(&self.world.doors).acquire_owned().await?);
        while !stop.is_cancelled() {
            let began = self.world.now_us();
            let url = self.turn.next().context("there is no gateway")?;
            let dialer = Dialer::new(url, PATH, SUBPROTOCOL, LinkOptions::edge_at_agent(), Trust::default())?;
            let token = self.token.clone();
            let dialled = self.meanwhile(&stop, async { dialer.dial(Some(&token)).await }).await;
            match dialled {
                None => break,
                Some(Ok(link)) => {
                    let connection = Connection { link, actions: VecDeque::new(), timer: None, began };
                    match self.session(connection, &stop).await? {
                        Ended::Leaving => break,
                        Ended::Closed(Some(code), why) if !code.may_resume() => {
                            bail!("the gateway refuses agent {}: {code}: {why}", self.link.agent());
                        }
                        Ended::Closed(_, why) | Ended::Broken(why) => {
                            debug!(agent = self.index, why, "Connection lost.");
                        }
                    }
                }
                Some(Err(error)) => self.failed(&error)?,
            }
            let random = lockgate_runtime::random();
            let delay = match self.go_away.take() {
                Some(asked) => self.backoff.next_delay_after(asked, random),
                None => self.backoff.next_delay(random),
            };
            self.meanwhile(&stop, sleep(delay)).await;
        }
        Ok(())
    }

    fn failed(&mut self, error: &DialError) -> anyhow::Result<()> {
        self.world.figures.failed(error);
        if error.is_unauthorized() {
            bail!("agent {}: {error}; is --key-file the key of this gateway?", self.link.agent());
        }
        debug!(agent = self.index, %error, "No connection.");
        self.go_away = error.retry_after();
        Ok(())
    }

    /// Does something that takes time, and publishes on; `None`: told to leave.
    async fn meanwhile<T>(&mut self, stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                // CANCEL-SAFE: it stays pinned over the loop.
                done = &mut work => return Some(done),
                // CANCEL-SAFE: it only waits.
                () = self.publisher.due() => self.publisher.publish(),
            }
        }
    }

    async fn session(&mut self, mut connection: Connection, stop: &CancellationToken) -> anyhow::Result<Ended> {
        let ended = self.speak(&mut connection, stop).await?;
        self.handle(&mut connection, Input::LinkLost);
        let was_never_up = connection.began != u64::MAX;
        match &ended {
            Ended::Closed(Some(code), why) => connection.link.close_with(code.code(), why).await,
            Ended::Leaving => connection.link.close(CloseCode::ShuttingDown).await,
            // There is nobody to say good-bye to.
            Ended::Closed(None, _) | Ended::Broken(_) => {}
        }
        if let Ended::Closed(_, why) | Ended::Broken(why) = &ended
            && was_never_up
        {
            self.world.figures.failed(why);
        }
        Ok(ended)
    }

    async fn speak(&mut self, connection: &mut Connection, stop: &CancellationToken) -> anyhow::Result<Ended> {
        let (holdings, clock) = (self.publisher.queue.holdings(), Some(self.world.clock.wall()));
        self.handle(connection, Input::Connected { holdings, clock, journal: None });
        loop {
            while let Some(action) = connection.actions.pop_front() {
                if let Some(ended) = self.perform(connection, action).await {
                    return Ok(ended);
                }
            }
            let timer = connection.timer.map(|at| self.world.clock.tokio_instant(at));
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Ended::Leaving),
                // CANCEL-SAFE: a half-read message stays in the link.
                received = connection.link.receive() => match received {
                    Ok(Received::Message(bytes)) => self.frame(connection, bytes),
                    Ok(Received::Closed(closed)) => return Ok(Ended::Closed(closed.code(), closed.to_string())),
                    Err(error) => return Ok(Ended::Broken(error.to_string())),
                },
                // CANCEL-SAFE: it only waits.
                () = self.publisher.due() => {
                    let before = self.publisher.queue.next();
                    self.publisher.publish();
                    let seq = self.publisher.queue.next().previous();
                    if before <= seq {
                        self.handle(connection, Input::Appended { lane: LANE, seq });
                    }
                }
                // CANCEL-SAFE: a timer holds nothing.
                () = sleep_or_never(timer) => {
                    connection.timer = None;
                    self.handle(connection, Input::TimerFired);
                }
            }
        }
    }

    fn handle(&mut self, connection: &mut Connection, input: Input) {
        let mut actions = Vec::new();
        self.link.handle(self.world.clock.now(), input, &mut actions);
        connection.actions.extend(actions);
    }

    fn frame(&mut self, connection: &mut Connection, bytes: Bytes) {
        match decode_gateway_frame(bytes) {
            Ok(Some(frame)) => self.handle(connection, Input::Frame(frame)),
            // A kind of frame that a later version has.
            Ok(None) => {}
            Err(error) => self.handle(connection, Input::BadFrame(error.to_string())),
        }
    }

    /// Does one thing that the link wants done; `Some`: the connection ends.
    async fn perform(&mut self, connection: &mut Connection, action: Action) -> Option<Ended> {
        match action {
            Action::Send(frame) => {
                if let Err(error) = connection.link.feed(encode_agent_frame(&frame)).await {
                    return Some(Ended::Broken(error.to_string()));
                }
            }
            Action::Read { request, epoch, lane, range, bytes_max } => {
                let (records, missing) = self.publisher.queue.read(epoch, lane, range, bytes_max);
                self.handle(connection, Input::Records { request, records, missing });
            }
            Action::Settled { epoch, lane, set } => self.publisher.settled(epoch, lane, &set),
            Action::EpochClosed(_) | Action::Executor(_) => {}
            Action::DeadLetter { seq, reason, .. } => {
                count(&self.world.figures.rejected, 1);
                warn!(agent = self.index, %seq, reason, "The gateway refuses a record.");
            }
            Action::Gap(gap) => count(&self.world.figures.forgotten, gap.range.count()),
            Action::ServerTime { .. } => self.up(connection),
            Action::GoAway { reconnect_after, gateways, .. } => {
                count(&self.world.figures.go_aways, 1);
                self.go_away = Some(reconnect_after);
                self.turn.go_away(&gateways);
            }
            Action::Close { code, why } => return Some(Ended::Closed(Some(code), why)),
            Action::ArmTimer(at) => connection.timer = Some(at),
        }
        None
    }

    /// The gateway has let us in; told again with every answer to a ping.
    fn up(&mut self, connection: &mut Connection) {
        let began = std::mem::replace(&mut connection.began, u64::MAX);
        if began == u64::MAX {
            return;
        }
        let figures = &self.world.figures;
        self.backoff.reset();
        self.connections += 1;
        count(&figures.connects, 1);
        figures.connected.add(self.world.now_us().saturating_sub(began));
        if self.connections > 1 {
            count(&figures.agent_reconnects, 1);
        }
        if self.door.take().is_some() {
            figures.agents_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Never, where there is no instant.
async fn sleep_or_never(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
