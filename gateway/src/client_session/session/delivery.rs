//! What goes to a client of its rooms: live, from what a room has at hand, in short, or from the log.

use std::future::poll_fn;
use std::sync::Arc;

use futures_util::future::poll_immediate;
use lockgate_proto::ids::RoomId;
use lockgate_proto::position::Position;
use lockgate_proto::wire;
use lockgate_proto::wire::server_frame::Body;
use tokio::time::Instant;
use tracing::debug;

use super::Session;
use crate::backbone::{LogRead, LoggedEntry, ReadLimit};
use crate::client_session::conflate_logic::Conflater;
use crate::client_session::cursor_logic::OnBatch;
use crate::client_session::request::RequestError;
use crate::client_session::subscriptions::Due;
use crate::client_session::{answer, reply, subscribe};
use crate::limits::{LOG_READ_BYTES_MAX, LOG_READ_ENTRIES_MAX, PROBE_INTERVAL, RECENT_BYTES_MAX};
use crate::metrics::Counter;
use crate::peer::End;
use crate::room::{Following, RoomEvent, Selected};

/// Deliveries that are gathered before they are written out together.
const DELIVERIES_PER_FLUSH: usize = 32;

/// What is more than to pass on what a room has told.
enum Fetch {
    /// From the log, or what the room has at hand.
    Slice,
    /// Nothing any more.
    Leave,
}

/// What reading the log gave a subscription.
enum Slice {
    /// It is too far behind this head.
    Lagged(Position),
    Read(LogRead),
}

impl Session<'_> {
    /// Does what is due, and what else is due without waiting; then writes it all out.
    pub(super) async fn deliver(&mut self, index: usize, due: Due) -> Result<(), End> {
        let mut next = Some((index, due));
        let mut delivered = 0;
        while let Some((index, due)) = next.take() {
            if let Some(rest) = self.pass_on(index, due)? {
                // Seldom, and large: no session keeps room for it.
                Box::pin(self.fetch(index, rest)).await?;
            }
            delivered += 1;
            if delivered < DELIVERIES_PER_FLUSH && self.peer.has_room() && self.rest_until.is_none() {
                next = poll_immediate(poll_fn(|context| self.subscriptions.poll_next(context))).await;
            }
        }
        self.peer.flush().await
    }

    /// Passes on what a room has told; gives back what is more than that.
    fn pass_on(&mut self, index: usize, due: Due) -> Result<Option<Fetch>, End> {
        let Some(subscription) = self.subscriptions.get_mut(index) else { return Ok(None) };
        match due {
            Due::Told(RoomEvent::Batch(batch)) => {
                if let OnBatch::Deliver { skip } = subscription.cursor.on_batch(batch.entries())
                    && let Selected::Frame(frame, entries) = subscription.select(self.encoding, &batch, skip)
                {
                    Counter::ClientEntries.add(entries as u64);
                    self.peer.put(frame)?;
                }
            }
            Due::Told(RoomEvent::Standing(at)) => subscription.cursor.on_standing(at),
            Due::Overrun => {
                Counter::ClientOverruns.tick();
                subscription.cursor.on_overrun();
            }
            Due::Slice => return Ok(Some(Fetch::Slice)),
            Due::Ended => return Ok(Some(Fetch::Leave)),
        }
        Ok(None)
    }

    async fn fetch(&mut self, index: usize, what: Fetch) -> Result<(), End> {
        match what {
            Fetch::Slice => self.slice(index).await,
            Fetch::Leave => self.leave().await,
        }
    }

    pub(super) async fn feed(&mut self, selected: Selected) -> Result<(), End> {
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
            conflater.take(entry, &subscription.filter);
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
