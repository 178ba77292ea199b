//! The queue at one book: whoever has the turn does what all have brought.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use lockgate_proto::ids::RoomId;
use tokio::sync::oneshot;
use tracing::debug;

use super::book_logic::{Applied, Done, Work, apply};
use super::time::BackboneClock;
use crate::backbone::{Backbone, BackboneError, BookWritten, Holder};
use crate::metrics::Counter;

/// LIMIT: works that one write does; the others are the next one's.
const GROUP_MAX: usize = 256;

/// So often a book is read anew because another gateway was faster, before whoever asked is told to ask again.
const ATTEMPTS_MAX: u32 = 32;

/// Lines that may be remembered before those are looked for at which nobody stands any more.
const LINES_BEFORE_PRUNING: usize = 64;

/// All lines of this gateway.
pub(super) struct Lines {
    pub(super) time: Arc<BackboneClock>,
    /// A mutex and no task: held for one look.
    lines: Mutex<HashMap<(RoomId, Holder), Weak<Line>>>,
}

impl Lines {
    pub(super) fn new(time: BackboneClock) -> Lines {
        Lines { time: Arc::new(time), lines: Mutex::default() }
    }

    /// The line at a book.
    pub(super) fn at(&self, room: &RoomId, holder: &Holder) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (room.clone(), holder.clone());
        if let Some(line) = lines.get(&key).and_then(Weak::upgrade) {
            return line;
        }
        if lines.len() >= LINES_BEFORE_PRUNING && lines.len() == lines.capacity() {
            lines.retain(|_, line| line.strong_count() > 0);
        }
        let line = Arc::new(Line {
            room: room.clone(),
            holder: holder.clone(),
            time: Arc::clone(&self.time),
            waiting: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        });
        lines.insert(key, Arc::downgrade(&line));
        line
    }
}

/// Those who wait at one book.
pub(super) struct Line {
    room: RoomId,
    holder: Holder,
    time: Arc<BackboneClock>,
    /// Held for one push or one look.
    waiting: Mutex<VecDeque<Item>>,
    /// Whoever has it works.
    turn: tokio::sync::Mutex<()>,
}

type Answer = Result<Done, BackboneError>;

struct Item {
    work: Work,
    reply: oneshot::Sender<Answer>,
}

impl Line {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Item>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a work, alone or together with others. After an error it may have been done or not.
    pub(super) async fn work(&self, backbone: &dyn Backbone, work: Work) -> Answer {
        loop {
            let (reply, mut answer) = oneshot::channel();
            self.waiting().push_back(Item { work: work.clone(), reply });
            let answered = tokio::select! {
                biased;
                answered = &mut answer => answered,
                _turn = self.turn.lock() => self.serve_until(backbone, &mut answer).await,
            };
            // An error says that whoever had the turn was called off in the midst of it: nobody knows what became of it.
            if let Ok(answered) = answered {
                return answered;
            }
        }
    }

    /// With the turn: works until one's own work is done.
    async fn serve_until(
        &self,
        backbone: &dyn Backbone,
        answer: &mut oneshot::Receiver<Answer>,
    ) -> Result<Answer, oneshot::error::RecvError> {
        loop {
            match answer.try_recv() {
                Ok(answered) => return Ok(answered),
                Err(oneshot::error::TryRecvError::Closed) => return answer.await,
                Err(oneshot::error::TryRecvError::Empty) => {}
            }
            let group: Vec<Item> = {
                let mut waiting = self.waiting();
                let count = waiting.len().min(GROUP_MAX);
                waiting.drain(..count).collect()
            };
            let works: Vec<Work> = group.iter().map(|item| item.work.clone()).collect();
            match self.serve(backbone, &works).await {
                Ok(done) => {
                    for (item, done) in group.into_iter().zip(done) {
                        // Who no longer waits has lost its connection, and asks anew.
                        drop(item.reply.send(Ok(done)));
                    }
                }
                Err(error) => {
                    for item in group {
                        drop(item.reply.send(Err(error.clone())));
                    }
                }
            }
        }
    }

    /// Reads, decides, writes; again, where the book has changed meanwhile.
    async fn serve(&self, backbone: &dyn Backbone, works: &[Work]) -> Result<Vec<Done>, BackboneError> {
        let ids: Vec<_> = works.iter().flat_map(Work::ids).collect();
        for attempt in 0..ATTEMPTS_MAX {
            let asked = self.time.ours();
            let read = backbone.book(&self.room, &self.holder, &ids).await?;
            self.time.heard(asked, read.now);
            let Applied { write, done } = apply(&read, &self.holder, works);
            let Some(write) = write else { return Ok(done) };
            match backbone.write_book(&self.room, &write).await? {
                BookWritten::Done => {
                    for update in write.news.iter().filter_map(|news| news.update.as_ref()) {
                        let (id, device, state) = (&update.id, &update.device, update.standing.state.as_str());
                        debug!(room = %self.room, command = %id, %device, state, "A command has moved on.");
                        if update.progress.is_none() {
                            Counter::Commands(state).tick();
                        }
                    }
                    return Ok(done);
                }
                BookWritten::Changed => tokio::time::sleep(pause(attempt)).await,
            }
        }
        Err(BackboneError::Unavailable { reason: "other gateways keep changing the agent's commands".to_owned() })
    }
}

/// Those who compete wait for different times, the longer the oftener they met.
fn pause(attempt: u32) -> Duration {
    if attempt < 2 {
        return Duration::ZERO;
    }
    let most = 1_u64 << attempt.min(6);
    Duration::from_millis(1 + lockgate_runtime::random() % most)
}
