//! What a record of the fleet says of itself, as the raw value of its first reading.

/// Bytes of a mark.
const BYTES: usize = 32;

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

    /// `None`: no mark.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Mark> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (parts, _) = bytes.as_chunks::<8>();
        let part = |index: usize| parts.get(index).map(|part| u64::from_le_bytes(*part));
        Some(Mark { run: part(0)?, agent: part(1)?, number: part(2)?, at_us: part(3)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_as_it_was_and_other_bytes_are_none() {
        let mark = Mark { run: u64::MAX, agent: 1, number: 2, at_us: 1 << 40 };
        assert_eq!(Mark::from_bytes(&mark.to_bytes()), Some(mark));
        assert_eq!(Mark::from_bytes(&mark.to_bytes()[1..]), None);
    }
}
