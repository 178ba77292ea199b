//! The subscriptions of one connection: one per room, and the next thing that any of their rooms tells.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lockgate_proto::ids::Site;
use lockgate_proto::wire::server_frame::Body;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::ReusableBoxFuture;

use crate::attendance::Place;
use crate::backbone::LoggedEntry;
use crate::client_session::cursor_logic::Cursor;
use crate::client_session::filter::Filter;
use crate::client_session::reply;
use crate::client_session::request::Conflate;
use crate::encoding::Encoding;
use crate::metrics::{Gauge, GaugeGuard};
use crate::room::{Batch, Joined, Recent, RoomEvent, Selected};

type Heard = (Result<RoomEvent, RecvError>, Receiver<RoomEvent>);

/// One room that the client listens to.
pub(crate) struct Subscription {
    pub(crate) site: Site,
    pub(crate) filter: Filter,
    pub(crate) cursor: Cursor,
    /// What its room has at hand.
    pub(crate) recent: Arc<Recent>,
    pub(crate) conflate: Option<Conflate>,
    /// Where telemetry always comes in short: when it may come again. Waited for only while there is news.
    pace: Option<Pin<Box<Sleep>>>,
    has_news: bool,
    next: ReusableBoxFuture<'static, Heard>,
    _open: GaugeGuard,
    /// Counts the person as being in the room.
    _place: Option<Place>,
}

impl Subscription {
    /// Listens to what its room tells from now on.
    pub(crate) fn new(site: Site, filter: Filter, cursor: Cursor, joined: Joined) -> Subscription {
        let Joined { events, recent } = joined;
        let next = ReusableBoxFuture::new(hear(events));
        let (conflate, pace, has_news) = (None, None, false);
        Subscription {
            site,
            filter,
            cursor,
            recent,
            conflate,
            pace,
            has_news,
            next,
            _open: Gauge::SubscriptionsOpen.hold(),
            _place: None,
        }
    }

    /// The same, with telemetry in short.
    pub(crate) fn conflated(mut self, conflate: Option<Conflate>) -> Subscription {
        self.conflate = conflate;
        if let Some(Conflate::Every(_)) = conflate {
            self.pace = Some(Box::pin(sleep(Duration::ZERO)));
        }
        self
    }

    /// Whether what comes next is to come in short.
    pub(crate) fn comes_in_short(&self) -> bool {
        match self.conflate {
            None => false,
            Some(Conflate::WhenSlow) => self.cursor.is_slow(),
            Some(Conflate::Every(_)) => true,
        }
    }

    /// All that there was has been told; the next may come when it is time.
    pub(crate) fn told_all(&mut self) {
        self.cursor.on_read(&[], false);
        self.has_news = false;
    }

    /// Something was told in short.
    pub(crate) fn rest(&mut self) {
        if let (Some(pace), Some(Conflate::Every(every))) = (&mut self.pace, self.conflate) {
            pace.as_mut().reset(Instant::now() + every);
        }
    }

    /// The next thing to do.
    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<Due> {
        let Some(pace) = &mut self.pace else {
            if self.cursor.is_catching_up() {
                return Poll::Ready(Due::Slice);
            }
            return self.next.poll(context).map(|(heard, events)| {
                self.next.set(hear(events));
                due(heard)
            });
        };
        // What the room tells is taken only as news: the room has it at hand when it is time.
        while let Poll::Ready((heard, events)) = self.next.poll(context) {
            self.next.set(hear(events));
            match due(heard) {
                Due::Told(RoomEvent::Standing(at)) => return Poll::Ready(Due::Told(RoomEvent::Standing(at))),
                Due::Ended => return Poll::Ready(Due::Ended),
                Due::Told(RoomEvent::Batch(_)) | Due::Overrun | Due::Slice => self.has_news = true,
            }
        }
        if !self.has_news && !self.cursor.is_catching_up() {
            return Poll::Pending;
        }
        pace.as_mut().poll(context).map(|()| Due::Slice)
    }

    /// The same, for someone who is in the room as long as it lasts.
    pub(crate) fn held_by(self, place: Option<Place>) -> Subscription {
        Subscription { _place: place, ..self }
    }

    /// What of a batch of its room goes to the client, after the first `skip` entries.
    pub(crate) fn select(&self, encoding: Encoding, batch: &Batch, skip: usize) -> Selected {
        if !self.filter.cuts() {
            return batch.select(encoding, &self.site, skip, |entry| self.filter.wants(entry));
        }
        let cut = batch.entries().iter().skip(skip).filter_map(|entry| self.filter.cut(entry)).collect();
        Batch::whole(&self.site, cut).map_or(Selected::Nothing, |cut| cut.select(encoding, &self.site, 0, |_| true))
    }

    /// What is to be said when there is no more: what the filter leaves out tells nobody that the head is reached,
    /// and the next ping may be far.
    pub(crate) fn at_head(&self, more: bool) -> Option<Body> {
        (!more && self.filter.leaves_out())
            .then(|| reply::positions(std::iter::once((&self.site, self.cursor.position()))))
    }

    /// The same of entries that were read from the log for it alone: what it does not want is not even framed.
    pub(crate) fn frames(
        &self,
        encoding: Encoding,
        mut entries: Vec<LoggedEntry>,
    ) -> impl Iterator<Item = Selected> + use<'_> {
        if self.filter.cuts() {
            entries = entries.iter().filter_map(|entry| self.filter.cut(entry)).collect();
        } else {
            entries.retain(|entry| self.filter.wants(entry));
        }
        let batches = Batch::cut(&self.site, &entries.into());
        batches.into_iter().map(move |batch| batch.select(encoding, &self.site, 0, |_| true))
    }
}

fn due(heard: Result<RoomEvent, RecvError>) -> Due {
    match heard {
        Ok(event) => Due::Told(event),
        Err(RecvError::Lagged(_)) => Due::Overrun,
        Err(RecvError::Closed) => Due::Ended,
    }
}

async fn hear(mut events: Receiver<RoomEvent>) -> Heard {
    let heard = events.recv().await;
    (heard, events)
}

/// What is to be done for one of the subscriptions.
#[derive(Debug)]
pub(crate) enum Due {
    /// Its room told something.
    Told(RoomEvent),
    /// Its room went over entries that it had not taken.
    Overrun,
    /// It reads the log: a slice is due.
    Slice,
    /// Its room has ended, as the gateway does.
    Ended,
}

/// All subscriptions of one connection.
#[derive(Default)]
pub(crate) struct Subscriptions {
    all: Vec<Subscription>,
    /// Where the next look around begins, so that a busy room does not hide the others.
    turn: usize,
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Subscription> {
        self.all.iter()
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Subscription> {
        self.all.get_mut(index)
    }

    pub(crate) fn has(&self, site: &Site) -> bool {
        self.all.iter().any(|subscription| subscription.site == *site)
    }

    /// Puts in a subscription; one of the same room is replaced.
    pub(crate) fn put(&mut self, subscription: Subscription) {
        self.remove(&subscription.site);
        // Most connections have one, and there are many connections.
        self.all.reserve_exact(1);
        self.all.push(subscription);
    }

    /// Whether there was one to take out.
    pub(crate) fn remove(&mut self, site: &Site) -> bool {
        let before = self.all.len();
        self.all.retain(|subscription| subscription.site != *site);
        self.all.len() < before
    }

    /// The next thing to do for any of them, in turn.
    pub(crate) fn poll_next(&mut self, context: &mut std::task::Context<'_>) -> Poll<(usize, Due)> {
        for step in 0..self.all.len() {
            let index = (self.turn + step) % self.all.len();
            if let Poll::Ready(due) = self.all[index].poll(context) {
                self.turn = index + 1;
                return Poll::Ready((index, due));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use tokio::sync::broadcast;

    use super::*;
    use crate::room::tests::{chain, position};

    fn live(site: &str, events: &broadcast::Sender<RoomEvent>) -> Subscription {
        let mut cursor = Cursor::new(position(1, 0), position(1, 0));
        cursor.on_read(&[], false);
        let joined = Joined { events: events.subscribe(), recent: Arc::default() };
        Subscription::new(Site::new(site).unwrap(), Filter::default(), cursor, joined)
    }

    async fn next(subscriptions: &mut Subscriptions) -> (usize, Due) {
        poll_fn(|context| subscriptions.poll_next(context)).await
    }

    fn batch(site: &str, offset: u64) -> RoomEvent {
        let entries = chain(1, offset..=offset);
        RoomEvent::Batch(Arc::new(Batch::cut(&Site::new(site).unwrap(), &entries.into()).remove(0)))
    }

    #[tokio::test]
    async fn a_busy_room_does_not_hide_a_quiet_one() {
        let (busy, _keep) = broadcast::channel(64);
        let (quiet, _keep) = broadcast::channel(64);
        let mut subscriptions = Subscriptions::default();
        subscriptions.put(live("busy", &busy));
        subscriptions.put(live("quiet", &quiet));
        for offset in 1..=20 {
            busy.send(batch("busy", offset)).unwrap();
        }
        quiet.send(batch("quiet", 1)).unwrap();
        let mut turns = Vec::new();
        for _ in 0..3 {
            turns.push(next(&mut subscriptions).await.0);
        }
        assert!(turns.contains(&1), "{turns:?}");
    }

    #[tokio::test]
    async fn an_overrun_is_told_and_then_the_rest_of_the_ring() {
        let (events, _keep) = broadcast::channel(4);
        let mut subscriptions = Subscriptions::default();
        subscriptions.put(live("plant", &events));
        for offset in 1..=9 {
            events.send(batch("plant", offset)).unwrap();
        }
        assert!(matches!(next(&mut subscriptions).await, (0, Due::Overrun)));
        assert!(matches!(next(&mut subscriptions).await, (0, Due::Told(RoomEvent::Batch(_)))));
    }

    #[tokio::test]
    async fn a_second_subscription_of_a_room_replaces_the_first() {
        let (events, _keep) = broadcast::channel(4);
        let mut subscriptions = Subscriptions::default();
        subscriptions.put(live("plant", &events));
        subscriptions.put(live("plant", &events));
        assert_eq!(subscriptions.len(), 1);
        assert_eq!(events.receiver_count(), 2);
        assert!(subscriptions.remove(&Site::new("plant").unwrap()));
        assert!(!subscriptions.remove(&Site::new("plant").unwrap()));
        assert_eq!(events.receiver_count(), 1);
    }
}
