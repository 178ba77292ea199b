//! A room's entries, through all connections.
//!
//! Knows the position reached and goes on from there after every break. Cancel-safe: all state is in the
//! subscription, and an event that was not returned is still there.

use std::collections::VecDeque;
use std::time::Duration;

use lockgate_proto::convert::kind_to_wire;
use lockgate_proto::gateways::Attempt;
use lockgate_proto::ids::Site;
use lockgate_proto::position::{Offset, Position};
use lockgate_proto::resume::{RoomProgress, Verdict};
use lockgate_proto::wire;
use lockgate_proto::wire::client_frame::Request;
use lockgate_proto::wire::server_frame::Body;
use lockgate_runtime::link::LinkError;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::GatewayUrl;
use crate::client::Door;
use crate::connection::{ANSWER_TIMEOUT, Connection, answered};
use crate::convert;
use crate::error::ClientError;
use crate::event::{Event, Start, SubscribeOptions};

/// A subscription of one room.
pub struct Subscription {
    door: Door,
    options: SubscribeOptions,
    /// The token that was shown last.
    token: String,
    phase: Phase,
    progress: RoomProgress,
    time_zone: Option<String>,
    /// LIMIT: what one message of the gateway can bring; the next is read when these are taken.
    events: VecDeque<Event>,
    caught_up: CaughtUp,
    /// The answer that is waited for is the first one of a connection that is not the first.
    is_back: bool,
    /// Entries were left out that are to be fetched.
    must_fetch: bool,
}

enum Phase {
    /// Not connected; this attempt is due then.
    Waiting(Instant, Attempt<GatewayUrl>),
    /// The connection is of no more use, and what follows is not decided yet.
    Over,
    /// Connected; the request with this id must be answered by then.
    Asked(Connection, u32, Instant),
    /// Entries come.
    Following(Connection),
}

/// How far it is to what the log had at the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CaughtUp {
    /// Nobody wants to know, or it was told.
    Settled,
    /// Told when this is reached.
    At(Offset),
}

impl Subscription {
    pub(crate) async fn begin(
        door: Door,
        mut connection: Connection,
        token: String,
        options: SubscribeOptions,
    ) -> Result<Subscription, ClientError> {
        let caught_up = if options.tell_caught_up {
            // Who subscribes live is told where the log ends.
            match connection.ask(subscribe_request(&options, Start::Live, false)).await? {
                Body::Subscribed(subscribed) => CaughtUp::At(convert::position(subscribed.position)?.offset),
                _ => return Err(ClientError::WrongAnswer),
            }
        } else {
            CaughtUp::Settled
        };
        let mut subscription = Subscription {
            door,
            token,
            phase: Phase::Over,
            progress: RoomProgress::default(),
            time_zone: None,
            events: VecDeque::new(),
            caught_up,
            is_back: false,
            must_fetch: false,
            options,
        };
        subscription.ask(connection).await?;
        // The first answer decides whether there is a subscription at all.
        while let Phase::Asked(..) = subscription.phase {
            subscription.hear().await?;
        }
        Ok(subscription)
    }

    /// The site.
    pub fn site(&self) -> &Site {
        &self.options.site
    }

    /// The site's IANA time zone, if one is set.
    pub fn time_zone(&self) -> Option<&str> {
        self.time_zone.as_deref()
    }

    /// Everything up to here has been given by [`Subscription::next`], filtered out or told as lagged: a later
    /// subscription can go on from here. `None` before the first answer.
    pub fn position(&self) -> Option<Position> {
        // Entries that wait to be taken have not been given yet.
        let waiting = self.events.iter().find_map(|event| match event {
            Event::Entry(entry) => Some(Position {
                offset: Offset(entry.header.position.offset.0.saturating_sub(1)),
                stamp: entry.header.previous,
            }),
            _ => None,
        });
        waiting.or(self.progress.reached())
    }

    /// The next event. Waits, reconnects and resumes as needed. An error is final.
    pub async fn next(&mut self) -> Result<Event, ClientError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let step = match &self.phase {
                Phase::Waiting(at, attempt) => {
                    let (at, attempt) = (*at, attempt.clone());
                    self.reconnect(at, &attempt).await
                }
                Phase::Following(_) if self.must_fetch => self.fetch().await,
                Phase::Asked(..) | Phase::Following(_) | Phase::Over => self.hear().await,
            };
            if let Err(error) = step {
                self.lost(error)?;
            }
        }
    }

    /// An event that is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends the connection in order.
    pub async fn close(self) {
        match self.phase {
            Phase::Asked(connection, ..) | Phase::Following(connection) => connection.finish().await,
            Phase::Waiting(..) | Phase::Over => {}
        }
    }

    async fn reconnect(&mut self, at: Instant, attempt: &Attempt<GatewayUrl>) -> Result<(), ClientError> {
        sleep_until(at).await;
        self.token = self.door.token.token()?;
        let connection = self.door.open(attempt, &self.token).await?;
        self.is_back = true;
        self.ask(connection).await
    }

    /// Asks for what was left out, and all after it: a subscription takes the place of the one before on the same
    /// connection, and as far as it asks for the past the gateway leaves nothing out.
    async fn fetch(&mut self) -> Result<(), ClientError> {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Following(connection) => self.ask(connection).await,
            other => {
                self.phase = other;
                Ok(())
            }
        }
    }

    async fn ask(&mut self, mut connection: Connection) -> Result<(), ClientError> {
        let start = self.progress.reached().map_or(self.options.start, Start::Since);
        let snapshot = self.options.snapshot && self.progress.reached().is_none();
        let id = connection.send(subscribe_request(&self.options, start, snapshot)).await?;
        self.phase = Phase::Asked(connection, id, Instant::now() + ANSWER_TIMEOUT);
        self.must_fetch = false;
        Ok(())
    }

    /// Takes one frame from the gateway.
    async fn hear(&mut self) -> Result<(), ClientError> {
        match &mut self.phase {
            Phase::Waiting(..) => Ok(()),
            Phase::Over => Err(LinkError::Closed.into()),
            Phase::Asked(connection, asked, deadline) => {
                let heard = timeout_at(*deadline, connection.receive()).await;
                let (id, body) = heard.unwrap_or(Err(ClientError::Timeout { after: ANSWER_TIMEOUT }))?;
                if id == *asked {
                    let Body::Subscribed(subscribed) = answered(body)? else { return Err(ClientError::WrongAnswer) };
                    self.follow();
                    return self.subscribed(subscribed);
                }
                // What still comes of an earlier subscription on this connection is none of ours.
                if let Body::Degraded(_) | Body::GoAway(_) = body { self.told(body) } else { Ok(()) }
            }
            Phase::Following(connection) => {
                let (_, body) = connection.receive().await?;
                self.told(body)
            }
        }
    }

    fn conflated(&mut self, conflated: wire::Conflated) -> Result<(), ClientError> {
        let (after, through) = (convert::position(conflated.after)?, convert::position(conflated.through)?);
        match self.progress.told_in_short(after, through) {
            Verdict::Take => {}
            Verdict::Skip => return Ok(()),
            Verdict::Resubscribe => return Err(ClientError::DoesNotFollow),
        }
        for entry in conflated.entries {
            self.events.push_back(Event::Entry(Box::new(convert::entry(entry)?)));
        }
        let latest = conflated.latest.into_iter().map(convert::shadow).collect::<Result<_, _>>()?;
        self.events.push_back(Event::Conflated { after, through, latest, left_out: conflated.left_out });
        self.catch_up(through.offset);
        Ok(())
    }

    fn follow(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        self.phase = match phase {
            Phase::Asked(connection, ..) => Phase::Following(connection),
            other => other,
        };
    }

    fn subscribed(&mut self, subscribed: wire::Subscribed) -> Result<(), ClientError> {
        self.door.up();
        let position = convert::position(subscribed.position)?;
        let asked_since = self.progress.reached().is_some() || matches!(self.options.start, Start::Since(_));
        if std::mem::take(&mut self.is_back) {
            self.events.push_back(Event::Reconnected { position });
        }
        self.begin_at(position, subscribed, asked_since)
    }

    /// Entries go on from here: after an answer, or where the gateway begins anew by itself.
    fn begin_at(
        &mut self,
        position: Position,
        subscribed: wire::Subscribed,
        asked_since: bool,
    ) -> Result<(), ClientError> {
        let first = self.progress.reached().is_none();
        self.progress = RoomProgress::new(Some(position), subscribed.filtered || self.options.filters());
        self.time_zone = Some(subscribed.time_zone).filter(|zone| !zone.is_empty());
        let not_recovered = asked_since && !subscribed.recovered;
        if not_recovered {
            let reason = convert::not_recovered(subscribed.reason);
            self.events.push_back(Event::NotRecovered { reason, position });
        }
        if !subscribed.snapshot_left_out && (not_recovered || (first && self.options.snapshot)) {
            self.events.push_back(Event::Snapshot(convert::snapshot(position, subscribed.snapshot)?));
        }
        if not_recovered {
            // What the log had at the beginning is gone, or is behind.
            self.catch_up(Offset(u64::MAX));
        }
        self.catch_up(position.offset);
        Ok(())
    }

    fn told(&mut self, body: Body) -> Result<(), ClientError> {
        let site = self.options.site.as_str();
        match body {
            Body::Delivery(delivery) if delivery.site == site => {
                delivery.entries.into_iter().try_for_each(|entry| self.entry(entry))
            }
            Body::Positions(positions) => {
                let ours = positions.positions.into_iter().find(|one| one.site == site);
                match ours {
                    Some(ours) => self.stated(convert::position(ours.position)?),
                    None => Ok(()),
                }
            }
            Body::Conflated(conflated) if conflated.site == site => self.conflated(conflated),
            Body::Lagged(lagged) if lagged.site == site => {
                let (after, through) = (convert::position(lagged.after)?, convert::position(lagged.through)?);
                if self.options.fetch_lagged {
                    // As far as that, what did not come was filtered out.
                    self.stated(after)?;
                    self.must_fetch = true;
                    self.events.push_back(Event::Fetching { after, through });
                    return Ok(());
                }
                self.progress.subscribed(through);
                self.events.push_back(Event::Lagged { after, through });
                self.catch_up(through.offset);
                Ok(())
            }
            Body::Resynced(resynced) => match resynced.subscribed {
                Some(subscribed) if subscribed.site == site => {
                    self.begin_at(convert::position(subscribed.position)?, subscribed, true)
                }
                Some(_) | None => Ok(()),
            },
            Body::Degraded(degraded) => {
                let event =
                    if degraded.degraded { Event::Degraded { reason: degraded.reason } } else { Event::Restored };
                self.events.push_back(event);
                Ok(())
            }
            Body::GoAway(go_away) => {
                let after = Duration::from_millis(go_away.reconnect_after_ms.into());
                self.door.go_away(after, &go_away.gateways);
                Ok(())
            }
            // Other rooms', and answers to nothing that was asked.
            Body::Delivery(_)
            | Body::Lagged(_)
            | Body::Error(_)
            | Body::Connected(_)
            | Body::Subscribed(_)
            | Body::Unsubscribed(_)
            | Body::DeviceList(_)
            | Body::Shadow(_)
            | Body::Loss(_)
            | Body::PresenceList(_)
            | Body::Command(_)
            | Body::Group(_)
            | Body::CommandList(_)
            | Body::Unfollowed(_)
            | Body::Conflated(_)
            | Body::Description(_) => Ok(()),
        }
    }

    fn entry(&mut self, entry: wire::Entry) -> Result<(), ClientError> {
        let entry = convert::entry(entry)?;
        match self.progress.entry(&entry.header) {
            Verdict::Take => {
                let offset = entry.header.position.offset;
                self.events.push_back(Event::Entry(Box::new(entry)));
                self.catch_up(offset);
                Ok(())
            }
            Verdict::Skip => Ok(()),
            Verdict::Resubscribe => Err(ClientError::DoesNotFollow),
        }
    }

    fn stated(&mut self, position: Position) -> Result<(), ClientError> {
        match self.progress.stated(position) {
            Verdict::Take => self.catch_up(position.offset),
            Verdict::Skip => {}
            Verdict::Resubscribe => return Err(ClientError::DoesNotFollow),
        }
        Ok(())
    }

    fn catch_up(&mut self, reached: Offset) {
        if let CaughtUp::At(head) = self.caught_up
            && head <= reached
        {
            self.caught_up = CaughtUp::Settled;
            let position = self.progress.reached().unwrap_or(Position::START);
            self.events.push_back(Event::CaughtUp { position });
        }
    }

    /// The connection is of no more use: plans the next one, or gives up.
    fn lost(&mut self, error: ClientError) -> Result<(), ClientError> {
        let Some(attempt) = self.door.again(&error, &self.token) else { return Err(error) };
        let retry_in = attempt.delay;
        self.phase = Phase::Waiting(Instant::now() + retry_in, attempt);
        self.events.push_back(Event::Disconnected { error, retry_in });
        Ok(())
    }
}

fn subscribe_request(options: &SubscribeOptions, start: Start, snapshot: bool) -> Request {
    let start = match start {
        Start::Live => wire::subscribe::Start::Live(wire::Live {}),
        Start::Since(position) => {
            wire::subscribe::Start::Since(wire::Position { offset: position.offset.0, stamp: position.stamp.0 })
        }
        Start::Last(count) => wire::subscribe::Start::Last(count),
    };
    Request::Subscribe(wire::Subscribe {
        site: options.site.as_str().to_owned(),
        filter: Some(wire::Filter {
            devices: options.devices.iter().map(|device| device.as_str().to_owned()).collect(),
            kinds: options.kinds.iter().map(|kind| kind_to_wire(*kind).into()).collect(),
            metrics: options.metrics.iter().map(|metric| metric.as_str().to_owned()).collect(),
        }),
        start: Some(start),
        snapshot,
        conflate_ms: options.conflate.map(|every| u32::try_from(every.as_millis()).unwrap_or(u32::MAX)),
    })
}
