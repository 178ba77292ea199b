//! Decides what is told of the time in which the disk took nothing: once, when it is over.
//!
//! Pure.

use lockgate_proto::time::UnixMicros;

use super::Arrival;

/// What a source that says everything once has lost since the disk stopped taking it.
#[derive(Debug, Default)]
pub struct Outage(Option<Open>);

#[derive(Debug)]
struct Open {
    from: Arrival,
    to: Arrival,
    dropped: u64,
    disk_full: bool,
}

/// An outage that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Over {
    /// Readings and presences lost in it.
    pub dropped: u64,
    /// Why, a word of the dead letters' list.
    pub reason: &'static str,
    /// How many and when, for people.
    pub detail: String,
}

impl Outage {
    /// So many readings were dropped.
    pub fn dropped(&mut self, count: u64, at: Arrival, disk_full: bool) {
        let open = self.0.get_or_insert(Open { from: at, to: at, dropped: 0, disk_full: false });
        open.to = at;
        open.dropped = open.dropped.saturating_add(count);
        open.disk_full |= disk_full;
    }

    /// The disk takes readings again, or nobody will ask it any more.
    pub fn end(&mut self) -> Option<Over> {
        let Open { from, to, dropped, disk_full } = self.0.take()?;
        let reason = if disk_full { "disk_full" } else { "not_queued" };
        let detail = format!("{dropped} readings dropped from {} to {}", instant(from), instant(to));
        Some(Over { dropped, reason, detail })
    }
}

fn instant(at: Arrival) -> String {
    let wall = at.wall.and_then(|UnixMicros(micros)| jiff::Timestamp::from_microsecond(micros).ok());
    wall.map_or_else(|| format!("{} s after boot", at.mono.0.as_secs()), |wall| wall.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lockgate_proto::time::MonoTime;

    use super::*;

    #[test]
    fn an_outage_is_told_once_with_all_that_it_cost() {
        let mut outage = Outage::default();
        assert_eq!(outage.end(), None);
        let at = |seconds, wall| Arrival { mono: MonoTime(Duration::from_secs(seconds)), wall };
        outage.dropped(2, at(7, None), false);
        outage.dropped(3, at(9, Some(UnixMicros(1_700_000_000_000_000))), true);
        let over = outage.end().unwrap();
        assert_eq!((over.dropped, over.reason), (5, "disk_full"));
        assert_eq!(over.detail, "5 readings dropped from 7 s after boot to 2023-11-14T22:13:20Z");
        assert_eq!(outage.end(), None);
    }
}
