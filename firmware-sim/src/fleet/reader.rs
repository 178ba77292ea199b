//! A client connection that counts: subscribes its rooms, reconnects, resumes by position.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use lockgate_proto::backoff::Backoff;
use lockgate_proto::limits::IDLE_TIMEOUT;
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use prost::Message as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::seats::{Heard, Seats};
use super::socket::{Socket, SocketError};
use super::tally_logic::Faults;
use super::turn_logic::Turn;
use super::world::{World, count};

/// First and longest wait before another attempt.
pub(super) const RECONNECT_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// A gateway that has not answered by then is taken for gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How often a reader looks whether its gateway has fallen silent.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Between two reads of a slow reader.
const SLOW_PAUSE: Duration = Duration::from_secs(1);

const PATH: &str = "/v1/client";
const SUBPROTOCOL: &str = "lockgate.client.v1";

/// What became of a reader.
#[derive(Debug, Default)]
pub(super) struct ReaderEnd {
    pub(super) faults: Faults,
    pub(super) got: u64,
    pub(super) bytes: u64,
    pub(super) messages: u64,
    pub(super) lagged_told: u64,
    pub(super) lagged_entries: u64,
    pub(super) gaps_told: u64,
    pub(super) holes: u64,
    pub(super) not_recovered: u64,
    pub(super) is_slow: bool,
}

/// One client connection, through all its reconnects.
pub(super) struct Reader {
    world: Arc<World>,
    index: usize,
    token: String,
    seats: Seats,
    turn: Turn,
    backoff: Backoff,
    is_slow: bool,
    connections: u64,
    /// When the connection was lost that there is to replace.
    lost_us: Option<u64>,
    /// What the gateway wants us to wait when it goes.
    go_away: Option<Duration>,
}

/// How a connection ended.
enum Ended {
    Leaving,
    Lost(SocketError),
    /// Entries were left out without a word: subscribe again.
    DoesNotFollow,
    Silent,
    NotNow(String),
}

impl Reader {
    pub(super) fn new(world: Arc<World>, index: usize) -> anyhow::Result<Reader> {
        let client = world.plan.clients.get(index).context("a reader has a plan")?.clone();
        let seats = Seats::new(&world, client.rooms.iter().copied(), client.is_slow)?;
        let token = world.user_token(client.user, seats.sites())?;
        let turn = Turn::new(&world.gateways, index);
        let backoff = Backoff::new(RECONNECT_BACKOFF.0, RECONNECT_BACKOFF.1);
        let is_slow = client.is_slow;
        Ok(Reader { world, index, token, seats, turn, backoff, is_slow, connections: 0, lost_us: None, go_away: None })
    }

    /// Reads until told to leave. Fails only where no attempt can help.
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<ReaderEnd> {
        let mut door = Some(Arc::clone(&self.world.doors).acquire_owned().await?);
        while !stop.is_cancelled() {
            let ended = self.connection(&mut door, &stop).await?;
            self.note(&ended);
            match &ended {
                Ended::Leaving => break,
                Ended::Lost(SocketError::Closed { number: Some(number), reason })
                    if CloseCode::from_code(*number).is_some_and(|code| !code.may_resume()) =>
                {
                    bail!("the gateway refuses a reader: {reason}");
                }
                Ended::Lost(error) if self.seats.is_up() => debug!(reader = self.index, %error, "Connection lost."),
                Ended::Lost(error) => self.world.figures.failed(error),
                Ended::DoesNotFollow => self.seats.end.holes += 1,
                Ended::NotNow(why) => self.world.figures.failed(why),
                Ended::Silent => self.world.figures.failed(&"the gateway is silent"),
            }
            let random = lockgate_runtime::random();
            let delay = match self.go_away.take() {
                Some(asked) => self.backoff.next_delay_after(asked, random),
                None => self.backoff.next_delay(random),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // CANCEL-SAFE: a timer holds nothing.
                () = sleep(delay) => {}
            }
        }
        Ok(self.seats.settle(&self.world))
    }

    /// What the storm's shape is made of.
    fn note(&mut self, ended: &Ended) {
        let (figures, now) = (&self.world.figures, self.world.now_us());
        if let Ended::Lost(SocketError::Refused { retry_after, .. }) = ended {
            if self.lost_us.is_some() {
                figures.turned_away_at.add(now);
            }
            if let Some(asked) = retry_after {
                count(&figures.told_to_wait, 1);
                self.go_away = Some(*asked);
            }
        }
        if self.seats.is_up() && !matches!(ended, Ended::Leaving) {
            figures.lost_at.add(now);
            self.lost_us = Some(now);
        }
    }

    async fn connection(
        &mut self,
        door: &mut Option<OwnedSemaphorePermit>,
        stop: &CancellationToken,
    ) -> anyhow::Result<Ended> {
        let url = self.turn.next().context("there is no gateway")?;
        let began = self.world.now_us();
        self.seats.connect();
        let connecting = timeout(ANSWER_TIMEOUT, Socket::connect(&url, PATH, Some(SUBPROTOCOL), self.is_slow));
        let connected = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Ended::Leaving),
            // CANCEL-SAFE: a half-made connection is dropped, and the gateway sees it end.
            connected = connecting => connected,
        };
        let mut socket = match connected {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Ok(Ended::Lost(error)),
            Err(_) => return Ok(Ended::Silent),
        };
        let client = concat!("lockgate-sim ", env!("CARGO_PKG_VERSION")).to_owned();
        socket.feed(&frame(1, Request::Connect(wire::Connect { token: self.token.clone(), client })));
        match self.follow(&mut socket, door, began, stop).await? {
            Ended::Leaving => {
                socket.close().await;
                Ok(Ended::Leaving)
            }
            ended => Ok(ended),
        }
    }

    /// Hears what comes until the connection ends.
    async fn follow(
        &mut self,
        socket: &mut Socket,
        door: &mut Option<OwnedSemaphorePermit>,
        began: u64,
        stop: &CancellationToken,
    ) -> anyhow::Result<Ended> {
        let mut stopped = pin!(stop.cancelled());
        let mut look = pin!(sleep(LOOK_INTERVAL));
        let (mut heard_at, asked_until) = (Instant::now(), Instant::now() + ANSWER_TIMEOUT);
        loop {
            if socket.has_to_flush()
                && let Err(error) = socket.flush().await
            {
                return Ok(Ended::Lost(error));
            }
            let (seats, world, index) = (&mut self.seats, &self.world, self.index);
            let came = tokio::select! {
                biased;
                // CANCEL-SAFE: what was read is handed on within the poll.
                came = poll_fn(|context| socket.poll_messages(context, |message| seats.hear(world, index, message))) => came,
                // CANCEL-SAFE: a token stays cancelled.
                () = &mut stopped => return Ok(Ended::Leaving),
                // CANCEL-SAFE: a timer holds nothing.
                () = &mut look => {
                    let now = Instant::now();
                    look.as_mut().reset(now + LOOK_INTERVAL);
                    if heard_at + IDLE_TIMEOUT < now || (!self.seats.is_up() && asked_until < now) {
                        return Ok(Ended::Silent);
                    }
                    continue;
                }
            };
            heard_at = Instant::now();
            for heard in self.seats.take_heard() {
                match heard {
                    Heard::LetIn => self.subscribe(socket),
                    Heard::Up => self.up(door, began),
                    Heard::GoAway { after, gateways } => {
                        count(&self.world.figures.go_aways, 1);
                        self.go_away = Some(after);
                        self.turn.go_away(&gateways);
                    }
                    Heard::DoesNotFollow => return Ok(Ended::DoesNotFollow),
                    Heard::NotNow(why) => return Ok(Ended::NotNow(why)),
                    Heard::Refused(why) => bail!("the gateway refuses a reader: {why}"),
                    Heard::Nonsense(why) => bail!("the gateway sent {why}"),
                }
            }
            if let Err(error) = came {
                return Ok(Ended::Lost(error));
            }
            if self.is_slow && self.seats.is_up() {
                tokio::select! {
                    biased;
                    () = &mut stopped => return Ok(Ended::Leaving),
                    // CANCEL-SAFE: a timer holds nothing.
                    () = sleep(SLOW_PAUSE) => {}
                }
            }
        }
    }

    fn subscribe(&mut self, socket: &mut Socket) {
        for (id, request) in self.seats.requests() {
            socket.feed(&frame(id, Request::Subscribe(request)));
        }
    }

    fn up(&mut self, door: &mut Option<OwnedSemaphorePermit>, began: u64) {
        let figures = &self.world.figures;
        self.backoff.reset();
        self.connections += 1;
        count(&figures.connects, 1);
        figures.connected.add(self.world.now_us().saturating_sub(began));
        if self.connections > 1 {
            count(&figures.reader_reconnects, 1);
        }
        if let Some(lost_us) = self.lost_us.take() {
            let now = self.world.now_us();
            figures.away.add(now.saturating_sub(lost_us));
            figures.back_at.add(now);
        }
        if door.take().is_some() {
            figures.readers_up.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn frame(id: u32, request: Request) -> Vec<u8> {
    wire::ClientFrame { id, request: Some(request) }.encode_to_vec()
}
