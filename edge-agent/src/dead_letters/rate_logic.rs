//! Decides how many letters of one source are kept: a babbling device must not wear out the card.
//!
//! Pure.

use std::collections::HashMap;
use std::time::Duration;

/// So many letters of a source are kept at once.
const BURST: u32 = 50;

/// After a burst, one more is kept after each so long.
const INTERVAL: Duration = Duration::from_secs(2);

/// LIMIT: sources are named in the config; beyond so many, the rest share one allowance.
const SOURCES_MAX: usize = 256;

/// What each source may still keep.
#[derive(Debug, Default)]
pub(super) struct Rate(HashMap<String, Allowance>);

#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: u32,
    counted_at: Duration,
}

impl Rate {
    /// Whether one more letter of a source is kept; takes it off the source's allowance.
    pub(super) fn allows(&mut self, source: &str, now: Duration) -> bool {
        let known = self.0.contains_key(source) || self.0.len() < SOURCES_MAX;
        let key = if known { source } else { "" };
        if !self.0.contains_key(key) {
            self.0.insert(key.to_owned(), Allowance { left: BURST, counted_at: now });
        }
        let Some(allowance) = self.0.get_mut(key) else { return false };
        let earned = now.saturating_sub(allowance.counted_at).as_millis() / INTERVAL.as_millis();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        allowance.counted_at += INTERVAL.saturating_mul(earned);
        allowance.left = allowance.left.saturating_add(earned).min(BURST);
        let is_allowed = allowance.left > 0;
        allowance.left = allowance.left.saturating_sub(1);
        is_allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_babbling_source_is_cut_to_its_allowance_and_harms_no_other() {
        let mut rate = Rate::default();
        let kept = (0..1_000).filter(|_| rate.allows("meter", Duration::ZERO)).count();
        assert_eq!(kept, 50);
        assert!(rate.allows("pump", Duration::ZERO));
        let kept = (0..1_000_u64).filter(|at| rate.allows("meter", Duration::from_millis(at * 10))).count();
        assert_eq!(kept, 4, "one each two seconds of the ten");
        assert!(rate.allows("meter", Duration::from_secs(60)));
    }
}
