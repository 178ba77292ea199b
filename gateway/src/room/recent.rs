//! The newest entries of a room, in memory, for readers who are a little behind: after a reconnect, or because they
//! read slowly. A thousand clients that come back at once then cost one look into the log, or none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockgate_proto::ids::RoomId;
use lockgate_proto::position::{Offset, Position};
use tokio::sync::{OnceCell, watch};
use tokio::time::timeout;

use crate::backbone::{Backbone, BackboneError, LoggedEntry, ReadLimit};
use crate::limits::{LOG_READ_BYTES_MAX, RECENT_BYTES_MAX, RECENT_ENTRIES_MAX};
use crate::room::batch::Batch;
use crate::room::link_logic::{Fit, fit};

/// How long a reader waits for a room that has just been opened.
const STANDING_PATIENCE: Duration = Duration::from_secs(1);

/// See the module. LIMIT: [`RECENT_BYTES_MAX`] bytes of entries, [`RECENT_ENTRIES_MAX`] entries.
#[derive(Debug, Default)]
pub struct Recent {
    /// A mutex and no task: it is held to add a batch or to look some up, never across an await.
    kept: Mutex<Kept>,
    /// The room stands somewhere.
    stands: watch::Sender<bool>,
    /// The log was read for those who came from before the room was opened.
    filled: OnceCell<()>,
}

#[derive(Debug, Default)]
struct Kept {
    /// INVARIANT: linked, without holes; the last one ends at `head`.
    batches: VecDeque<Arc<Batch>>,
    entries: usize,
    bytes: usize,
    /// Where the room stands; `None`: nowhere yet.
    head: Option<Position>,
}

/// What follows a position.
#[derive(Clone, Debug)]
pub struct Following {
    /// In order; the first may begin before the position.
    pub batches: Vec<Arc<Batch>>,
    /// There is more behind them.
    pub more: bool,
}

impl Recent {
    /// Where the room stands.
    pub(crate) fn head(&self) -> Option<Position> {
        self.kept().head
    }

    /// The room goes on from here; what was before does not lead to it.
    pub(super) fn stand(&self, at: Position) {
        let mut kept = self.kept();
        if kept.head != Some(at) {
            *kept = Kept { head: Some(at), ..Kept::default() };
        }
        drop(kept);
        self.stands.send_replace(true);
    }

    /// The room's next batch.
    pub(super) fn push(&self, batch: &Arc<Batch>) {
        let mut kept = self.kept();
        kept.head = Some(batch.last());
        kept.count(batch, 1);
        kept.batches.push_back(Arc::clone(batch));
        kept.shrink();
    }

    /// The oldest position that something here follows.
    pub(crate) fn begin(&self) -> Option<Position> {
        let kept = self.kept();
        let Some(first) = kept.batches.front() else { return kept.head };
        let first = &first.entries()[0];
        let offset = Offset(first.position.offset.0.saturating_sub(1));
        Some(Position { offset, stamp: first.previous })
    }

    /// What follows a position, up to about `bytes_max`; `None` where that is not known here.
    pub(crate) fn after(&self, position: Position, bytes_max: usize) -> Option<Following> {
        let kept = self.kept();
        if kept.head == Some(position) {
            return Some(Following { batches: Vec::new(), more: false });
        }
        let first = kept.batches.partition_point(|batch| batch.last().offset <= position.offset);
        let begins = fit(position, kept.batches.get(first)?.entries());
        if !matches!(begins, Fit::Next { .. }) {
            return None;
        }
        let mut bytes = 0;
        let fitting = kept.batches.range(first..).take_while(|batch| {
            let before = bytes;
            bytes += batch.bytes();
            before == 0 || bytes <= bytes_max
        });
        let batches: Vec<Arc<Batch>> = fitting.cloned().collect();
        let more = first + batches.len() < kept.batches.len();
        Some(Following { batches, more })
    }

    /// Reads the newest entries from the log, once for all who wait for them. A room that stands nowhere yet is
    /// waited for a little; then nothing is done.
    pub(crate) async fn fill(&self, backbone: &dyn Backbone, room: &RoomId) -> Result<(), BackboneError> {
        let mut stands = self.stands.subscribe();
        if timeout(STANDING_PATIENCE, stands.wait_for(|stands| *stands)).await.is_err() {
            return Ok(());
        }
        let read = async {
            let limit = ReadLimit { entries_max: RECENT_ENTRIES_MAX, bytes_max: RECENT_BYTES_MAX / 2 };
            let entries = backbone.read_last(room, limit).await?;
            self.prepend(room, entries);
            Ok(())
        };
        self.filled.get_or_try_init(|| read).await.map(drop)
    }

    /// Puts in front what leads to what is here.
    fn prepend(&self, room: &RoomId, mut entries: Vec<LoggedEntry>) {
        let mut kept = self.kept();
        let Some(head) = kept.head else { return };
        let begin = kept.batches.front().map(|batch| batch.entries()[0].clone());
        let (before, stamp) = match &begin {
            Some(first) => (first.position.offset, first.previous),
            None => (head.offset.next(), head.stamp),
        };
        entries.retain(|entry| entry.position.offset < before);
        let leads =
            entries.last().is_some_and(|last| last.position.offset.next() == before && last.position.stamp == stamp);
        if !leads {
            return;
        }
        for batch in Batch::cut_within(&room.site, &entries.into(), LOG_READ_BYTES_MAX).into_iter().rev() {
            let batch = Arc::new(batch);
            kept.count(&batch, 1);
            kept.batches.push_front(batch);
        }
        kept.shrink();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn shrink(&mut self) {
        while self.bytes > RECENT_BYTES_MAX || self.entries > RECENT_ENTRIES_MAX as usize {
            let Some(oldest) = self.batches.pop_front() else { return };
            self.count(&oldest, -1);
        }
    }

    fn count(&mut self, batch: &Batch, sign: isize) {
        self.entries = self.entries.saturating_add_signed(sign * batch.entries().len().cast_signed());
        self.bytes = self.bytes.saturating_add_signed(sign * batch.bytes().cast_signed());
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::position::Stamp;

    use super::*;
    use crate::room::tests::{chain, position, site};

    fn push(recent: &Recent, offsets: std::ops::RangeInclusive<u64>) {
        for batch in Batch::cut(&site(), &chain(1, offsets).into()) {
            recent.push(&Arc::new(batch));
        }
    }

    fn offsets(following: &Following) -> Vec<u64> {
        following.batches.iter().flat_map(|batch| batch.entries()).map(|entry| entry.position.offset.0).collect()
    }

    fn standing_at(offset: u64) -> Recent {
        let recent = Recent::default();
        recent.stand(position(1, offset));
        recent
    }

    #[test]
    fn what_follows_a_position_is_found_where_it_links() {
        let recent = standing_at(4);
        push(&recent, 5..=6);
        push(&recent, 7..=9);
        assert_eq!(offsets(&recent.after(position(1, 4), 1_000).unwrap()), [5, 6, 7, 8, 9]);
        // In the middle of a batch: the reader skips what it has.
        assert_eq!(offsets(&recent.after(position(1, 7), 1_000).unwrap()), [7, 8, 9]);
        assert_eq!(offsets(&recent.after(position(1, 9), 1_000).unwrap()), [0_u64; 0]);
        assert!(recent.after(position(1, 3), 1_000).is_none(), "that is before the room was opened");
        assert!(recent.after(position(2, 7), 1_000).is_none(), "that is another history");
        assert!(recent.after(Position { offset: Offset(99), stamp: Stamp(1) }, 1_000).is_none());
    }

    #[test]
    fn a_look_is_bounded_and_says_that_there_is_more() {
        let recent = standing_at(0);
        for offset in 1..=10 {
            push(&recent, offset..=offset);
        }
        let first = recent.after(position(1, 0), 1).unwrap();
        assert_eq!((offsets(&first), first.more), (vec![1], true));
        let rest = recent.after(position(1, 9), 1).unwrap();
        assert_eq!((offsets(&rest), rest.more), (vec![10], false));
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_newest_stay() {
        let recent = standing_at(0);
        let many = u64::from(RECENT_ENTRIES_MAX) + 500;
        for offset in 1..=many {
            push(&recent, offset..=offset);
        }
        assert_eq!(recent.kept().entries, RECENT_ENTRIES_MAX as usize);
        assert!(recent.after(position(1, 400), 1).is_none());
        assert_eq!(offsets(&recent.after(position(1, many - 1), 1).unwrap()), [many]);
    }

    #[test]
    fn a_room_that_stands_anew_forgets_what_does_not_lead_there() {
        let recent = standing_at(0);
        push(&recent, 1..=3);
        recent.stand(position(1, 3));
        assert_eq!(offsets(&recent.after(position(1, 1), 1_000).unwrap()), [1, 2, 3]);
        recent.stand(position(2, 2));
        assert!(recent.after(position(1, 1), 1_000).is_none());
    }

    #[test]
    fn the_log_is_put_in_front_where_it_leads_to_what_is_here() {
        let room = |recent: &Recent, entries| {
            let room = RoomId { tenant: lockgate_proto::ids::Tenant::new("acme").unwrap(), site: site() };
            recent.prepend(&room, entries);
        };
        let recent = standing_at(4);
        push(&recent, 5..=6);
        room(&recent, chain(1, 2..=6));
        assert_eq!(offsets(&recent.after(position(1, 2), 1_000).unwrap())[1..], [3, 4, 5, 6]);
        let quiet = standing_at(4);
        room(&quiet, chain(1, 1..=9));
        assert_eq!(offsets(&quiet.after(position(1, 3), 1_000).unwrap()).last(), Some(&4), "no farther than the room");
        let other = standing_at(4);
        room(&other, chain(2, 1..=4));
        assert!(other.after(position(2, 1), 1_000).is_none());
    }
}
