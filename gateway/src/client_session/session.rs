//! One client's session, from its first frame to its last.

mod delivery;
mod orders;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::limits::SERVER_MESSAGE_BYTES_MAX;
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body;
use lockgate_runtime::LazyTimer;
use lockgate_token::Grant;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};
use tracing::{Instrument, info, info_span};

use crate::backbone::Health;
use crate::client_session::connect::{LetIn, connect};
use crate::client_session::following::{Following, News};
use crate::client_session::health::HealthWatch;
use crate::client_session::request::{Question, Request, RequestError, SubscribeRequest, decode};
use crate::client_session::subscriptions::{Due, Subscriptions};
use crate::client_session::{answer, reply, subscribe};
use crate::config::Service;
use crate::context::Context;
use crate::drain::Farewell;
use crate::encoding::Encoding;
use crate::lines::left_out;
use crate::metrics::{Counter, Gauge, SessionKind};
use crate::peer::{End, Peer};
use crate::server::Slot;

/// Runs a client's session on a fresh connection until either end ends it.
pub(crate) async fn run(mut peer: Peer, encoding: Encoding, slot: Arc<Slot>, context: Context) {
    // What happens once, or seldom, is kept apart from what stays in memory as long as the session does.
    let end = match Box::pin(connect(&mut peer, encoding, &context)).await {
        Ok(let_in) => {
            slot.authenticated();
            let span = info_span!("client_session", session = %let_in.session, tenant = %let_in.grant.tenant,
                subject = %let_in.grant.subject());
            serve(&mut peer, encoding, let_in, context).instrument(span).await
        }
        Err(end) => end,
    };
    Counter::SessionsClosed(SessionKind::Client, end.word()).tick();
    Box::pin(peer.close(&end)).await;
}

async fn serve(peer: &mut Peer, encoding: Encoding, let_in: LetIn, context: Context) -> End {
    let _open = Gauge::SessionsOpen(SessionKind::Client).hold();
    Counter::SessionsOpened(SessionKind::Client).tick();
    let who = (let_in.grant.tenant.clone(), let_in.grant.subject().to_owned());
    let told = context.lines.people.pass(&who, context.clock.now());
    if let Some(lines) = told {
        info!(client = %let_in.client, %encoding, left_out = left_out(lines), "Client connected.");
    }
    let (health, changes) = HealthWatch::new(context.backbone.health());
    let left = let_in.grant.expires_at.0.saturating_sub(context.clock.wall().0);
    let now = Instant::now();
    let mut session = Session {
        peer,
        encoding,
        grant: let_in.grant,
        subscriptions: Subscriptions::default(),
        following: Following::default(),
        health: changes,
        expires: now + Duration::from_micros(u64::try_from(left).unwrap_or(0)).min(EXPIRY_FARTHEST),
        ping_at: now + context.config.client.ping_interval,
        timer: LazyTimer::new(now + context.config.client.ping_interval),
        rest_until: None,
        context,
    };
    let end = match session.run(health).await {
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
    following: Following,
    health: HealthWatch,
    expires: Instant,
    ping_at: Instant,
    /// For whatever comes first of all these.
    timer: LazyTimer,
    /// The log could not be read: nothing is delivered before then.
    rest_until: Option<Instant>,
}

/// What the loop gathers.
enum Input {
    /// A room has something.
    Due(usize, Due),
    /// A room has news of its commands.
    News(News),
    /// The client has.
    Frame(Bytes),
    Event(Event),
}

/// What comes seldom.
enum Event {
    Drain,
    Expired,
    Health(Health),
    Ping,
    Rested,
    /// The deadlines of commands that are followed have passed.
    Overdue,
}

impl Session<'_> {
    async fn run(&mut self, health: Health) -> Result<std::convert::Infallible, End> {
        let drain: CancellationToken = self.context.drain.clone();
        let mut drained = pin!(drain.cancelled());
        if let Health::Down { reason } = health {
            Box::pin(self.tell(reply::UNASKED, reply::degraded(Some(&reason)))).await?;
        }
        loop {
            let input = poll_fn(|context| self.poll_input(drained.as_mut(), context)).await?;
            self.handle(input).await?;
        }
    }

    /// The next thing to do. What is waited for stays where it is from one call to the next: to set all of it up
    /// again for each delivery would cost more than the delivery.
    fn poll_input(
        &mut self,
        drained: Pin<&mut WaitForCancellationFuture<'_>>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Result<Input, End>> {
        if drained.poll(context).is_ready() {
            return Poll::Ready(Ok(Input::Event(Event::Drain)));
        }
        let (what, at) = self.next_moment();
        if self.timer.poll(at, context).is_ready() {
            return Poll::Ready(Ok(Input::Event(what)));
        }
        if let Poll::Ready(changed) = self.health.poll_changed(context) {
            let event = changed.map_or(Event::Drain, Event::Health);
            return Poll::Ready(Ok(Input::Event(event)));
        }
        if let Poll::Ready(frame) = self.peer.poll_hear(context) {
            return Poll::Ready(frame.map(Input::Frame));
        }
        if let Poll::Ready(news) = self.following.poll_news(context) {
            return Poll::Ready(Ok(Input::News(news)));
        }
        if self.rest_until.is_some() {
            return Poll::Pending;
        }
        self.subscriptions.poll_next(context).map(|(index, due)| Ok(Input::Due(index, due)))
    }

    fn next_moment(&self) -> (Event, Instant) {
        let moments = [(Event::Expired, self.expires), (Event::Ping, self.ping_at)];
        let rested = self.rest_until.map(|at| (Event::Rested, at));
        let overdue = self.following.look_at.map(|at| (Event::Overdue, at));
        let next = moments.into_iter().chain(rested).chain(overdue).min_by_key(|(_, at)| *at);
        next.expect("there are always two")
    }

    async fn handle(&mut self, input: Input) -> Result<(), End> {
        match input {
            Input::Due(index, due) => self.deliver(index, due).await,
            // Seldom, and large: no session keeps room for it.
            Input::News(news) => Box::pin(self.news(news)).await,
            Input::Frame(frame) => Box::pin(self.frame(frame)).await,
            Input::Event(event) => Box::pin(self.on(event)).await,
        }
    }

    async fn on(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Drain => self.leave().await,
            Event::Expired => Err(End::close(CloseCode::Unauthorized, "the token has expired; connect with a new one")),
            Event::Ping => self.positions().await,
            Event::Rested => {
                self.rest_until = None;
                Ok(())
            }
            Event::Overdue => self.overdue().await,
            Event::Health(health) => {
                let reason = match health {
                    Health::Up => None,
                    Health::Down { reason } => Some(reason),
                };
                self.tell(reply::UNASKED, reply::degraded(reason.as_deref())).await
            }
        }
    }

    /// Sends the client elsewhere.
    async fn leave(&mut self) -> Result<(), End> {
        let (server, known) = (&self.context.config.server, self.context.neighbours.known());
        let farewell = Farewell::new(server, &known, Service::Client, lockgate_runtime::random());
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
            Ok(Request::Order(request)) => self.order(request).await,
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
            Question::ListDevices(site, page) => {
                answer::devices(&self.context, &self.grant, &site, page).await.map(Body::DeviceList)
            }
            Question::GetShadow(site, device) => {
                answer::shadow(backbone, &self.grant, &site, &device).await.map(Body::Shadow)
            }
            Question::DescribeDevice(site, device) => {
                answer::description(backbone, &self.grant, &site, &device).await.map(Body::Description)
            }
            Question::ListPresence(site) => {
                answer::presence(backbone, &self.grant, &site).await.map(Body::PresenceList)
            }
            Question::GetLoss(site) => answer::loss(backbone, &self.grant, &site).await.map(Body::Loss),
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
}
