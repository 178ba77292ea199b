//! Plays the bytes of a capture onto a pseudo-terminal, waiting for a reader and for what it has not read yet.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Chunk, Pace};
use crate::hearing::{OPENING, TRANSIT, UNREAD_BYTES_MAX};
use crate::pty::{Port, PortError, ReaderEvent};
use crate::random::Random;

/// While waiting for the reader.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// How a capture is played.
#[derive(Clone, Copy, Debug)]
pub struct SerialReplay {
    /// How fast.
    pub pace: Pace,
    /// In what pieces.
    pub chunk: Chunk,
    /// For random pieces.
    pub seed: u64,
}

/// A port and whether somebody has it open.
#[derive(Debug)]
pub struct Stage {
    port: Port,
    readers: usize,
    since: Option<Instant>,
}

impl Stage {
    /// A stage at `link`, with no audience yet.
    pub fn open(link: &Path) -> Result<Stage, PortError> {
        Ok(Stage { port: Port::open(link)?, readers: 0, since: None })
    }

    fn look_around(&mut self) -> Result<bool, PortError> {
        for event in self.port.reader_events_so_far()? {
            match event {
                ReaderEvent::Came => self.readers += 1,
                ReaderEvent::Left => {
                    self.readers = self.readers.saturating_sub(1);
                    self.port.discard()?;
                    self.since = None;
                }
            }
        }
        if self.readers == 0 {
            return Ok(false);
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        Ok(since.elapsed() >= OPENING)
    }

    /// Waits until somebody listens and has no more than `unread_max` bytes before it.
    async fn wait(&mut self, unread_max: u64) -> Result<(), PortError> {
        while !self.look_around()? || self.port.unread()? > unread_max {
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

/// Plays `bytes` once and returns when the reader has taken them all. A reader that leaves in the middle loses what
/// it left unread; the rest waits for the next one.
pub async fn play_bytes(stage: &mut Stage, bytes: &[u8], replay: SerialReplay) -> Result<(), PortError> {
    let mut random = Random::new(replay.seed);
    let mut due = None;
    let mut rest = bytes;
    while !rest.is_empty() {
        stage.wait(UNREAD_BYTES_MAX).await?;
        let length = match replay.chunk {
            Chunk::Fixed(length) => usize::try_from(length.get()).unwrap_or(usize::MAX),
            Chunk::Random => random.index(1..65),
        };
        let (chunk, after) = rest.split_at(length.min(rest.len()));
        stage.port.write_all(chunk).await?;
        rest = after;
        // Counted from what was due, not from now, so that waiting for the timer does not add up.
        let next = due.unwrap_or_else(Instant::now) + replay.pace.time_for(chunk.len());
        tokio::time::sleep_until(next).await;
        due = Some(next.max(Instant::now() - LOOK_INTERVAL));
    }
    sleep(TRANSIT).await;
    stage.wait(0).await
}

impl Default for Chunk {
    fn default() -> Chunk {
        Chunk::Fixed(NonZeroU32::new(64).expect("64 is not 0"))
    }
}
