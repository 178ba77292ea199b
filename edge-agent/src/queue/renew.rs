//! A new epoch in a running agent, as a restart opens one: the old epoch only drains from then on.

use lockgate_proto::seq::{Epoch, Lane, Seq};

use super::Queue;
use super::book::{Book, End};
use super::error::RenewError;
use super::limits::EPOCHS_MAX;
use super::recovery_logic::begin_epoch;
use super::time::Start;

impl Queue {
    /// Ends the present epoch cleanly and begins another; numbers start from 1 again.
    ///
    /// DURABILITY: all of the old epoch is flushed before the book says that it has ended, in the same write
    /// that begins the new one; no record of the new one is written before that stands. If anything fails,
    /// the old epoch goes on.
    pub fn renew(&mut self, epoch: Epoch) -> Result<(), RenewError> {
        let mut book = self.book.clone();
        let held = |epoch: Epoch| self.segments.keys().any(|id| id.epoch == epoch);
        let owed = |book: &Book, epoch: Epoch| book.gaps.iter().any(|gap| gap.epoch == epoch);
        let done = book.epochs.iter().filter(|entry| entry.is_told && !held(entry.epoch) && !owed(&book, entry.epoch));
        let done: Vec<Epoch> = done.map(|entry| entry.epoch).collect();
        book.forget_epochs(|entry| done.contains(&entry.epoch));
        if book.epoch(epoch).is_some() {
            return Err(RenewError::EpochUsed);
        }
        if book.epochs.len() >= EPOCHS_MAX {
            return Err(RenewError::TooMany);
        }
        for lane in Lane::ALL {
            self.seal(lane).map_err(RenewError::Flush)?;
        }
        self.end_cleanly(&mut book);
        begin_epoch(&mut book, &Start { epoch, anchor: None, ..self.start });
        self.write_book(book).map_err(RenewError::Checkpoint)?;
        self.start.epoch = epoch;
        (self.appended, self.durable) = ([Seq::NONE; 2], [Seq::NONE; 2]);
        self.renewals += 1;
        self.gaps_version += 1;
        Ok(())
    }

    /// Writes into a book that the present epoch has ended, and that nothing of it is missing.
    pub(super) fn end_cleanly(&self, book: &mut Book) {
        let Some(entry) = book.epoch_mut(self.start.epoch) else { return };
        entry.end = Some(End::Clean);
        for lane in Lane::ALL {
            let last = self.appended[lane.index()];
            entry.lanes[lane.index()].last = (last > Seq::NONE).then_some(last);
        }
    }
}
