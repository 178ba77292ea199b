//! Decides which samples on a serial line were heard: pure accounting over opens, closes and unread bytes.
//!
//! The definition that this implements stands in the crate's documentation.

use std::collections::VecDeque;
use std::time::Duration;

/// A port is spoken to only when its reader has had it open for so long: no driver is surprised in mid-setup.
pub const OPENING: Duration = Duration::from_millis(200);
/// Bytes younger than this may still be on their way inside the kernel, where no count shows them.
pub const TRANSIT: Duration = Duration::from_millis(50);
/// Nothing more is said while the reader has more unread bytes than this: the kernel's buffer (4095) never fills.
pub const UNREAD_BYTES_MAX: u64 = 2048;

/// What became of a sample, as far as the device can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A reader took all of it and lived on with the port open: it must be in the store.
    Heard,
    /// Nobody had the port open, or the reader left before it had taken all of it.
    Unheard,
    /// The reader took all of it (or may have) and left within the grace time: it may be in the store or not.
    Cut,
}

impl Verdict {
    /// The word in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Heard => "heard",
            Verdict::Unheard => "unheard",
            Verdict::Cut => "cut",
        }
    }
}

/// A verdict on one sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// The sample's number.
    pub n: u64,
    /// What became of it.
    pub verdict: Verdict,
}

#[derive(Debug)]
struct Pending {
    n: u64,
    /// The line's byte count when its last byte was out.
    end: u64,
    taken_at: Option<Duration>,
}

/// The account of one serial line. Times are counted from any fixed start.
#[derive(Debug)]
pub struct Hearing {
    grace: Duration,
    reader_since: Option<Duration>,
    /// Bytes given to the present reader.
    written: u64,
    /// How much of `written` has surely reached the reader's buffer.
    arrived: u64,
    transit: VecDeque<(Duration, u64)>,
    pending: VecDeque<Pending>,
}

impl Hearing {
    /// An account where a reader must live on for `grace` after it took a sample.
    pub fn new(grace: Duration) -> Hearing {
        Hearing {
            grace,
            reader_since: None,
            written: 0,
            arrived: 0,
            transit: VecDeque::new(),
            pending: VecDeque::new(),
        }
    }

    /// Somebody opened the port. A second one beside the first changes nothing.
    pub fn reader_came(&mut self, now: Duration) {
        self.reader_since.get_or_insert(now);
    }

    /// The reader is gone; `unread` bytes were left behind. Rules on all that is open.
    pub fn reader_left(&mut self, unread: u64, rulings: &mut Vec<Ruling>) {
        // Bytes on their way are not in `unread`, so this is what the reader can have taken at most.
        let taken_at_most = self.written.saturating_sub(unread);
        rulings.extend(self.pending.drain(..).map(|sample| {
            let verdict = if sample.end > taken_at_most { Verdict::Unheard } else { Verdict::Cut };
            Ruling { n: sample.n, verdict }
        }));
        *self = Hearing::new(self.grace);
    }

    /// Whether what is said now has a listener.
    pub fn has_listener(&self, now: Duration) -> bool {
        self.reader_since.is_some_and(|since| now.saturating_sub(since) >= OPENING)
    }

    /// `bytes` went out to the reader, and with them sample `n`, if there was one.
    pub fn spoke(&mut self, now: Duration, bytes: u64, n: Option<u64>) {
        self.written += bytes;
        self.transit.push_back((now, self.written));
        self.pending.extend(n.map(|n| Pending { n, end: self.written, taken_at: None }));
    }

    /// The reader has `unread` bytes before it. Rules on what has been taken for long enough.
    pub fn looked(&mut self, now: Duration, unread: u64, rulings: &mut Vec<Ruling>) {
        while let Some(&(at, end)) = self.transit.front()
            && now.saturating_sub(at) >= TRANSIT
        {
            self.arrived = end;
            self.transit.pop_front();
        }
        let taken_at_least = self.arrived.saturating_sub(unread);
        for sample in &mut self.pending {
            if sample.end > taken_at_least {
                // It was not taken after all: the kernel was slower than we allowed for.
                sample.taken_at = None;
            } else {
                sample.taken_at.get_or_insert(now);
            }
        }
        while let Some(&Pending { n, taken_at: Some(at), .. }) = self.pending.front()
            && now.saturating_sub(at) >= self.grace
        {
            rulings.push(Ruling { n, verdict: Verdict::Heard });
            self.pending.pop_front();
        }
    }

    /// Whether samples wait for a verdict.
    pub fn is_open(&self) -> bool {
        !self.pending.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(1);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn listening() -> Hearing {
        let mut hearing = Hearing::new(GRACE);
        hearing.reader_came(ms(0));
        assert!(!hearing.has_listener(ms(10)), "a port that is being set up is not spoken to");
        assert!(hearing.has_listener(ms(200)));
        hearing
    }

    fn look(hearing: &mut Hearing, at: u64, unread: u64) -> Vec<(u64, Verdict)> {
        let mut rulings = Vec::new();
        hearing.looked(ms(at), unread, &mut rulings);
        rulings.iter().map(|ruling| (ruling.n, ruling.verdict)).collect()
    }

    fn leave(hearing: &mut Hearing, unread: u64) -> Vec<(u64, Verdict)> {
        let mut rulings = Vec::new();
        hearing.reader_left(unread, &mut rulings);
        rulings.iter().map(|ruling| (ruling.n, ruling.verdict)).collect()
    }

    #[test]
    fn a_sample_is_heard_when_its_reader_lives_on_after_taking_it() {
        let mut hearing = listening();
        hearing.spoke(ms(300), 40, Some(1));
        assert_eq!(look(&mut hearing, 320, 0), [], "the bytes may be on their way");
        assert_eq!(look(&mut hearing, 400, 0), []);
        assert_eq!(look(&mut hearing, 1399, 0), []);
        assert_eq!(look(&mut hearing, 1400, 0), [(1, Verdict::Heard)]);
        assert!(!hearing.is_open());
    }

    #[test]
    fn a_sample_that_stays_unread_is_never_heard() {
        let mut hearing = listening();
        hearing.spoke(ms(300), 40, Some(1));
        hearing.spoke(ms(400), 40, Some(2));
        assert_eq!(look(&mut hearing, 500, 41), []);
        assert_eq!(look(&mut hearing, 9000, 1), []);
        assert_eq!(look(&mut hearing, 9999, 1), []);
        assert_eq!(look(&mut hearing, 10_000, 1), [(1, Verdict::Heard)]);
        assert_eq!(leave(&mut hearing, 1), [(2, Verdict::Unheard)]);
    }

    #[test]
    fn a_reader_that_dies_leaves_what_it_took_open_and_the_rest_unheard() {
        let mut hearing = listening();
        for n in 1..=3 {
            hearing.spoke(ms(300), 10, Some(n));
        }
        assert_eq!(look(&mut hearing, 400, 10), []);
        assert_eq!(leave(&mut hearing, 5), [(1, Verdict::Cut), (2, Verdict::Cut), (3, Verdict::Unheard)]);
        assert!(!hearing.has_listener(ms(9000)));
    }

    #[test]
    fn bytes_that_show_up_late_take_a_hasty_belief_back() {
        let mut hearing = listening();
        hearing.spoke(ms(300), 10, Some(1));
        assert_eq!(look(&mut hearing, 360, 0), [], "believed taken");
        assert_eq!(look(&mut hearing, 1360, 10), [], "but only now does it stand in the buffer");
        assert_eq!(look(&mut hearing, 1400, 0), []);
        assert_eq!(look(&mut hearing, 2400, 0), [(1, Verdict::Heard)]);
    }

    #[test]
    fn a_new_reader_starts_a_new_count() {
        let mut hearing = listening();
        hearing.spoke(ms(300), 500, Some(1));
        leave(&mut hearing, 500);
        hearing.reader_came(ms(1000));
        hearing.spoke(ms(1300), 10, Some(2));
        look(&mut hearing, 1400, 0);
        assert_eq!(look(&mut hearing, 2400, 0), [(2, Verdict::Heard)]);
    }
}
