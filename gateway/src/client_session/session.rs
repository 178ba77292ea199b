//! One client's session, from its first frame to its last.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use lockgate_proto::ids::RoomId;
use lockgate_proto::limits::SERVER_MESSAGE_BYTES_MAX;
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::position::Position;
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body;
use lockgate_token::Grant;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, info_span};

use crate::backbone::{Health, LogRead, LoggedEntry, ReadLimit};
use crate::client_session::conflate_logic::Conflater;
use crate::client_session::connect::{LetIn, connect};
use crate::client_session::cursor_logic::OnBatch;
use crate::client_session::request::{Question, Request, RequestError, SubscribeRequest, decode};
use crate::client_session::subscriptions::{Due, Subscriptions};
use crate::client_session::{answer, reply, subscribe};
use crate::context::Context;
use crate::drain::Farewell;
use crate::encoding::Encoding;
use crate::limits::{LOG_READ_BYTES_MAX, LOG_READ_ENTRIES_MAX, PROBE_INTERVAL, RECENT_BYTES_MAX};
use crate::lines::left_out;
use crate::metrics::{Counter, Gauge, SessionKind};
use crate::peer::{End, Peer};
use crate::room::{Following, RoomEvent, Selected};
use crate::server::Slot;

/// Deliveries that are gathered before they are written out together.
const DELIVERIES_PER_FLUSH: usize = 32;

/// Runs a client's session on a fresh connection until either end ends it.
pub(crate) async fn run(mut peer: Peer, encoding: Encoding, slot: Arc<Slot>, context: Context) {
    let end = match connect(&mut peer, encoding, &context).await {
        Ok(let_in) => {
            slot.authenticated();
            let span = info_span!("client_session", session = %let_in.session, tenant = %let_in.grant.tenant,
                subject = %let_in.grant.subject());
            serve(&mut peer, encoding, let_in, context).instrument(span).await
        }
        Err(end) => end,
    };
    Counter::SessionsClosed(SessionKind::Client, end.word()).tick();
    peer.close(&end).await;
}

async fn serve(peer: &mut Peer, encoding: Encoding, let_in: LetIn, context: Context) -> End {
    let _open = Gauge::SessionsOpen(SessionKind::Client).hold();
    Counter::SessionsOpened(SessionKind::Client).tick();
    let who = (let_in.grant.tenant.clone(), let_in.grant.subject().to_owned());
    let told = context.lines.people.pass(&who, context.clock.now());
    if let Some(lines) = told {
        info!(client = %let_in.client, %encoding, left_out = left_out(lines), "Client connected.");
    }
    let health = context.backbone.health();
    let left = let_in.grant.expires_at.0.saturating_sub(context.clock.wall().0);
    let now = Instant::now();
    let mut session = Session {
        peer,
        encoding,
        grant: let_in.grant,
        subscriptions: Subscriptions::default(),
        health,
        expires: now + Duration::from_micros(u64::try_from(left).unwrap_or(0)).min(EXPIRY_FARTHEST),
        ping_at: now + context.config.client.ping_interval,
        rest_until: None,
        context,
    };
    let end = match session.run().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    if told.is_some() {
        info!(%end, "Client session ended.");
    }
    end
}

/// Timers can't look farther; who stays connected for so long may connect again.
const EXPIRY_FARTHEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

struct Session<'p> {
    peer: &'p mut Peer,
    encoding: Encoding,
    context: Context,
    grant: Arc<Grant>,
    subscriptions: Subscriptions,
    health: watch::Receiver<Health>,
    expires: Instant,
    ping_at: Instant,
    /// The log could not be read: nothing is delivered before then.
    rest_until: Option<Instant>,
}

/// What the loop gathers.
enum Input {
    Drain,
    Expired,
    Frame(Bytes),
    Health,
    Ping,
    Rested,
    Due(usize, Due),
}

/// What reading the log gave a subscription.
enum Slice {
    /// It is too far behind this head.
    Lagged(Position),
    Read(LogRead),
}

impl Session<'_> {
    async fn run(&mut self) -> Result<std::convert::Infallible, End> {
        let drain: CancellationToken = self.context.drain.clone();
        let health = self.health.borrow_and_update().clone();
        if let Health::Down { reason } = health {
            self.tell(reply::UNASKED, reply::degraded(Some(&reason))).await?;
        }
        loop {
            let rest = self.rest_until;
            let input = tokio::select! {
                biased;
                () = drain.cancelled() => Input::Drain,
                // CANCEL-SAFE: they only wait.
                () = sleep_until(self.expires) => Input::Expired,
                () = sleep_until(self.ping_at) => Input::Ping,
                () = sleep_until(rest.unwrap_or(self.ping_at)), if rest.is_some() => Input::Rested,
                // CANCEL-SAFE: a change that was not returned is still a change.
                changed = self.health.changed() => match changed {
                    Ok(()) => Input::Health,
                    Err(_) => Input::Drain,
                },
                // CANCEL-SAFE: a half-read frame stays in the link.
                frame = self.peer.hear() => Input::Frame(frame?),
                // CANCEL-SAFE: what was not returned comes at the next call.
                (index, due) = self.subscriptions.next(), if rest.is_none() => Input::Due(index, due),
            };
            self.handle(input).await?;
        }
    }

    async fn handle(&mut self, input: Input) -> Result<(), End> {
        match input {
            Input::Drain => self.leave().await,
            Input::Expired => Err(End::close(CloseCode::Unauthorized, "the token has expired; connect with a new one")),
            Input::Ping => self.positions().await,
            Input::Rested => {
                self.rest_until = None;
                Ok(())
            }
            Input::Health => {
                let reason = match self.health.borrow_and_update().clone() {
                    Health::Up => None,
                    Health::Down { reason } => Some(reason),
                };
                self.tell(reply::UNASKED, reply::degraded(reason.as_deref())).await
            }
            Input::Frame(frame) => self.frame(frame).await,
            Input::Due(index, due) => self.deliver(index, due).await,
        }
    }

    /// Sends the client elsewhere.
    async fn leave(&mut self) -> Result<(), End> {
        let farewell = Farewell::new(&self.context.config.server, lockgate_runtime::random());
        self.tell(reply::UNASKED, reply::go_away("the gateway is stopping", farewell)).await?;
        Err(End::close(CloseCode::ShuttingDown, "the gateway is stopping"))
    }

    async fn tell(&mut self, id: u32, body: Body) -> Result<(), End> {
        self.peer.send(self.encoding.encode(id, body)).await
    }

    /// Says where the client stands. Whether it still hears is the link's business.
    async fn positions(&mut self) -> Result<(), End> {
        self.ping_at = Instant::now() + self.context.config.client.ping_interval;
        let positions = reply::positions(self.subscriptions.iter().map(|one| (&one.site, one.cursor.position())));
        self.tell(reply::UNASKED, positions).await
    }

    async fn frame(&mut self, frame: Bytes) -> Result<(), End> {
        let asked = decode(self.encoding, frame).map_err(|error| {
            Counter::FramesBad(SessionKind::Client).tick();
            End::close(CloseCode::BadFrame, error.to_string())
        })?;
        Counter::ClientRequests.tick();
        let answer = match asked.request {
            Ok(Request::Subscribe(request)) => match self.may_subscribe(&request) {
                Ok(()) => return self.subscribe(asked.id, request).await,
                Err(error) => Err(error),
            },
            Ok(Request::Ask(question)) => self.answer(question).await,
            Ok(Request::Connect { .. }) => Err(RequestError::new(
                wire::ErrorCode::Invalid,
                "connect",
                "this connection is connected; a new token needs a new connection",
            )),
            Err(error) => Err(error),
        };
        self.reply(asked.id, answer).await
    }

    async fn reply(&mut self, id: u32, answer: Result<Body, RequestError>) -> Result<(), End> {
        let mut frame = answer.map(|body| self.encoding.encode(id, body));
        if frame.as_ref().is_ok_and(|frame| frame.len() > SERVER_MESSAGE_BYTES_MAX) {
            let message = "the answer does not fit into one message; ask for less at a time (list_devices has a limit)";
            frame = Err(RequestError::new(wire::ErrorCode::Limited, "", message));
        }
        let frame = frame.unwrap_or_else(|error| {
            Counter::ClientErrors.tick();
            self.encoding.encode(id, reply::error(&error))
        });
        self.peer.send(frame).await
    }

    async fn answer(&mut self, question: Question) -> Result<Body, RequestError> {
        let backbone = &*self.context.backbone;
        match question {
            Question::Unsubscribe(site) if self.subscriptions.remove(&site) => {
                Ok(Body::Unsubscribed(wire::Unsubscribed { site: site.as_str().to_owned() }))
            }
            Question::Unsubscribe(site) => {
                let message = format!("there is no subscription of {site:?} on this connection");
                Err(RequestError::new(wire::ErrorCode::NotFound, "unsubscribe.site", message))
            }
            Question::ListDevices(site, page) => answer::devices(&self.context, &self.grant, &site, page).await,
            Question::GetShadow(site, device) => answer::shadow(backbone, &self.grant, &site, &device).await,
            Question::ListPresence(site) => answer::presence(backbone, &self.grant, &site).await,
            Question::GetLoss(site) => answer::loss(backbone, &self.grant, &site).await,
        }
    }

    fn may_subscribe(&self, request: &SubscribeRequest) -> Result<(), RequestError> {
        let max = self.context.config.client.subscriptions_max;
        if self.subscriptions.len() < max || self.subscriptions.has(&request.site) {
            return Ok(());
        }
        let message = format!("this connection has {max} subscriptions, which is the limit; open another one");
        Err(RequestError::new(wire::ErrorCode::Limited, "subscribe", message))
    }

    async fn subscribe(&mut self, id: u32, request: SubscribeRequest) -> Result<(), End> {
        match subscribe::open(&self.context, self.encoding, &self.grant, request).await {
            Ok(opening) => {
                self.peer.feed(self.encoding.encode(id, Body::Subscribed(opening.subscribed))).await?;
                let subscription = opening.subscription;
                for selected in subscription.frames(self.encoding, opening.entries) {
                    self.feed(selected).await?;
                }
                self.subscriptions.put(subscription);
                self.peer.flush().await
            }
            Err(error) => self.reply(id, Err(error)).await,
        }
    }

    /// Does what is due, and what else is due without waiting; then writes it all out.
    async fn deliver(&mut self, index: usize, due: Due) -> Result<(), End> {
        let mut next = Some((index, due));
        let mut delivered = 0;
        while let Some((index, due)) = next.take() {
            self.due(index, due).await?;
            delivered += 1;
            if delivered < DELIVERIES_PER_FLUSH && self.rest_until.is_none() {
                next = self.subscriptions.next().now_or_never();
            }
        }
        self.peer.flush().await
    }

    async fn due(&mut self, index: usize, due: Due) -> Result<(), End> {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return Ok(()) };
        match due {
            Due::Told(RoomEvent::Batch(batch)) => match subscription.cursor.on_batch(batch.entries()) {
                OnBatch::Deliver { skip } => {
                    let selected = subscription.select(self.encoding, &batch, skip);
                    self.feed(selected).await
                }
                OnBatch::Skip | OnBatch::CatchUp => Ok(()),
            },
            Due::Told(RoomEvent::Standing(at)) => {
                subscription.cursor.on_standing(at);
                Ok(())
            }
            Due::Overrun => {
                Counter::ClientOverruns.tick();
                subscription.cursor.on_overrun();
                Ok(())
            }
            Due::Slice => self.slice(index).await,
            Due::Ended => self.leave().await,
        }
    }

    async fn feed(&mut self, selected: Selected) -> Result<(), End> {
        match selected {
            Selected::Nothing => Ok(()),
            Selected::Frame(frame, entries) => {
                Counter::ClientEntries.add(entries as u64);
                self.peer.feed(frame).await
            }
        }
    }

    /// Sends on from the log: one slice, or what is to be said where that can't be.
    async fn slice(&mut self, index: usize) -> Result<(), End> {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return Ok(()) };
        let room = self.grant.room(subscription.site.clone());
        let position = subscription.cursor.position();
        if subscription.comes_in_short()
            && let Some(told) = self.in_short(index).await
        {
            return told;
        }
        let Some(subscription) = self.subscriptions.get_mut(index) else { return Ok(()) };
        if let Some(following) = subscription.recent.after(position, LOG_READ_BYTES_MAX) {
            return self.follow(index, following).await;
        }
        let limit = ReadLimit { entries_max: LOG_READ_ENTRIES_MAX, bytes_max: LOG_READ_BYTES_MAX };
        let lag_max = self.context.config.client.lag_entries_max;
        let backbone = Arc::clone(&self.context.backbone);
        let read = async {
            let head = backbone.head(&room).await?;
            if subscription.cursor.is_lagged(head, lag_max) {
                return Ok(Slice::Lagged(head));
            }
            backbone.read_after(&room, position, limit).await.map(Slice::Read)
        };
        match read.await {
            Ok(Slice::Lagged(head)) => self.lagged(index, position, head).await,
            Ok(Slice::Read(LogRead::Entries(entries))) => self.sliced(index, entries).await,
            Ok(Slice::Read(LogRead::Trimmed)) => self.resync(index, &room, wire::NotRecovered::Trimmed).await,
            Ok(Slice::Read(LogRead::Diverged)) => self.resync(index, &room, wire::NotRecovered::Diverged).await,
            Err(error) => {
                self.rest(&answer::unavailable(&error));
                Ok(())
            }
        }
    }

    /// Tells in short what the room has at hand. Who is too slow even for that is told what it does not get.
    /// `None`: it comes from farther back, as it has asked, or nobody knows where it stands.
    async fn in_short(&mut self, index: usize) -> Option<Result<(), End>> {
        let subscription = self.subscriptions.get_mut(index)?;
        let position = subscription.cursor.position();
        let Some(following) = subscription.recent.after(position, RECENT_BYTES_MAX) else {
            let begin = subscription.recent.begin().filter(|_| subscription.cursor.is_slow())?;
            return if position.offset < begin.offset { Some(self.lagged(index, position, begin).await) } else { None };
        };
        let mut conflater = Conflater::new(position);
        let entries = following.batches.iter().flat_map(|batch| batch.entries());
        let new = entries.filter(|entry| entry.position.offset > position.offset);
        for entry in new {
            conflater.take(entry, subscription.filter.wants(entry));
            if conflater.is_full() {
                break;
            }
        }
        let Some(conflated) = conflater.finish() else {
            subscription.told_all();
            return Some(Ok(()));
        };
        subscription.cursor.on_conflated(conflated.through);
        subscription.rest();
        Counter::ClientConflated.add(conflated.left_out.into());
        let frame = self.encoding.encode(reply::UNASKED, reply::conflated(&subscription.site, conflated));
        Some(self.peer.feed(frame).await)
    }

    /// Sends on from what the room has at hand, in the frames that everybody gets.
    async fn follow(&mut self, index: usize, following: Following) -> Result<(), End> {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return Ok(()) };
        let mut selected = Vec::new();
        for batch in &following.batches {
            if let OnBatch::Deliver { skip } = subscription.cursor.on_batch(batch.entries()) {
                selected.push(subscription.select(self.encoding, batch, skip));
            }
        }
        subscription.cursor.on_read(&[], following.more);
        let at_head = subscription.at_head(following.more);
        for one in selected {
            self.feed(one).await?;
        }
        match at_head {
            Some(positions) => self.peer.feed(self.encoding.encode(reply::UNASKED, positions)).await,
            None => Ok(()),
        }
    }

    async fn sliced(&mut self, index: usize, entries: Vec<LoggedEntry>) -> Result<(), End> {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return Ok(()) };
        let bytes: usize = entries.iter().map(|entry| entry.bytes.len()).sum();
        let more = entries.len() >= LOG_READ_ENTRIES_MAX as usize || bytes >= LOG_READ_BYTES_MAX / 2;
        subscription.cursor.on_read(&entries, more);
        let at_head = subscription.at_head(more);
        let selected: Vec<Selected> = subscription.frames(self.encoding, entries).collect();
        for one in selected {
            self.feed(one).await?;
        }
        match at_head {
            Some(positions) => self.peer.feed(self.encoding.encode(reply::UNASKED, positions)).await,
            None => Ok(()),
        }
    }

    /// The client is too slow even for the log: it is told what it does not get, and goes on from the head.
    async fn lagged(&mut self, index: usize, after: Position, head: Position) -> Result<(), End> {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return Ok(()) };
        Counter::ClientLagged.tick();
        subscription.cursor.move_to(head);
        let frame = self.encoding.encode(reply::UNASKED, reply::lagged(&subscription.site, after, head));
        self.peer.feed(frame).await
    }

    /// The client's place in the log is none any more: it begins anew, and is told so.
    async fn resync(&mut self, index: usize, room: &RoomId, reason: wire::NotRecovered) -> Result<(), End> {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return Ok(()) };
        match subscribe::anew(&*self.context.backbone, self.encoding, room, &subscription.filter, reason).await {
            Ok((position, resynced)) => {
                subscription.cursor.move_to(position);
                self.peer.feed(self.encoding.encode(reply::UNASKED, Body::Resynced(resynced))).await
            }
            Err(error) => {
                self.rest(&error);
                Ok(())
            }
        }
    }

    /// The backbone can't be read; the client was told so, and nothing is lost by waiting.
    fn rest(&mut self, error: &RequestError) {
        debug!(%error, "The log can't be read now.");
        self.rest_until = Some(Instant::now() + PROBE_INTERVAL);
    }
}
