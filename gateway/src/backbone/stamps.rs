//! Random stamps, drawn from the given source a buffer at a time.

use lockgate_proto::position::Stamp;

/// Fills a buffer with random bytes, or fails as a whole.
pub type Random = Box<dyn FnMut(&mut [u8]) -> Result<(), RandomFailed> + Send>;

/// The system gives no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct RandomFailed;

const BUFFER_BYTES: usize = 1024;

pub(super) struct Stamps {
    random: Random,
    buffer: [u8; BUFFER_BYTES],
    used: usize,
}

impl Stamps {
    pub(super) fn new(random: Random) -> Stamps {
        Stamps { random, buffer: [0; BUFFER_BYTES], used: BUFFER_BYTES }
    }

    /// A stamp that nobody could foresee. Never zero, which stands for "before the first entry".
    pub(super) fn draw(&mut self) -> Result<Stamp, RandomFailed> {
        loop {
            if let Some((bytes, _)) = self.buffer[self.used..].split_first_chunk() {
                let stamp = u64::from_le_bytes(*bytes);
                self.used += size_of::<u64>();
                if stamp != 0 {
                    return Ok(Stamp(stamp));
                }
            } else {
                (self.random)(&mut self.buffer)?;
                self.used = 0;
            }
        }
    }
}
