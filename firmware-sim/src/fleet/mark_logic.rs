//! What a record of the fleet says of itself, as the raw value of its first reading.

/// Bytes of a mark.
const BYTES: usize = 32;

/// Bytes of a message to the reference: about what an entry of one reading takes on a client's link.
const MESSAGE_BYTES: usize = 120;

/// Which record this is, and when it was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The run of the fleet: a log may still hold records of earlier ones.
    pub(super) run: u64,
    /// The agent, counted through all rooms.
    pub(super) agent: u64,
    /// The agent's number of the record, from 1 by one.
    pub(super) number: u64,
    /// By the run's clock.
    pub(super) at_us: u64,
}

impl Mark {
    pub(super) fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (place, part) in bytes.chunks_exact_mut(8).zip([self.run, self.agent, self.number, self.at_us]) {
            place.copy_from_slice(&part.to_le_bytes());
        }
        bytes
    }

    /// As a whole message for the reference: the mark, and nothing that means anything.
    pub(super) fn to_message(self) -> [u8; MESSAGE_BYTES] {
        let mut message = [0; MESSAGE_BYTES];
        message[..BYTES].copy_from_slice(&self.to_bytes());
        message
    }

    /// What [`Mark::to_message`] made; `None`: something else.
    pub(super) fn from_message(message: &[u8]) -> Option<Mark> {
        let is_message = message.len() == MESSAGE_BYTES;
        message.get(..BYTES).filter(|_| is_message).and_then(Mark::from_bytes)
    }

    /// `None`: no mark.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Mark> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (parts, _) = bytes.as_chunks::<8>();
        let part = |index: usize| parts.get(index).map(|part| u64::from_le_bytes(*part));
        Some(Mark { run: part(0)?, agent: part(1)?, number: part(2)?, at_us: part(3)? })
    }
}

/// The number that a message to the reference has; `None`: it is none.
pub(crate) fn number_of(message: &[u8]) -> Option<u64> {
    Mark::from_message(message).map(|mark| mark.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_as_it_was_and_other_bytes_are_none() {
        let mark = Mark { run: u64::MAX, agent: 1, number: 2, at_us: 1 << 40 };
        assert_eq!(Mark::from_bytes(&mark.to_bytes()), Some(mark));
        assert_eq!(Mark::from_bytes(&mark.to_bytes()[1..]), None);
        assert_eq!((Mark::from_message(&mark.to_message()), number_of(&mark.to_message())), (Some(mark), Some(2)));
        assert_eq!(Mark::from_message(&mark.to_message()[1..]), None);
    }
}
