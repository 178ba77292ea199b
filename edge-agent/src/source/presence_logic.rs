//! Decides which presences are news: a broker repeats what it has kept, and devices repeat themselves.
//!
//! Pure. What is told is remembered with the record that tells it, because a message that only repeats it
//! may be acknowledged no sooner than that record is on disk.

use std::collections::HashMap;

use lockgate_codec::Output;
use lockgate_proto::ids::DeviceName;
use lockgate_proto::seq::Seq;

/// LIMIT: devices remembered. Beyond it all are forgotten, which costs one more record for each.
const DEVICES_MAX: usize = 4_096;

/// What this start of the agent has told of each device.
#[derive(Debug, Default)]
pub(super) struct PresenceMemory {
    told: HashMap<DeviceName, Told>,
    /// Of the queue's losses, when the memory was last right.
    gaps_version: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    presence: Said,
    by: Seq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    online: bool,
    retained: bool,
}

impl Said {
    /// A kept message says less than a fresh one of the same words, and nothing after it.
    fn is_repeat_of(self, told: Said) -> bool {
        self.online == told.online && (self.retained || !told.retained)
    }
}

/// What is left of a message's presences.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    said: Vec<(DeviceName, Said)>,
    /// The record that must be on disk for what was left out.
    pub(super) needs: Option<Seq>,
}

impl PresenceMemory {
    /// Takes out of a message what only repeats what was told. `gaps_version`: of the queue's progress;
    /// where the queue has lost something, the next repeat may be all that makes it good.
    pub(super) fn leave_news(&mut self, outputs: &mut Vec<Output>, gaps_version: u64) -> News {
        if gaps_version != self.gaps_version {
            self.told.clear();
            self.gaps_version = gaps_version;
        }
        let mut news = News::default();
        outputs.retain(|output| {
            let Output::Presence { device, online, retained, .. } = output else { return true };
            let said = Said { online: *online, retained: *retained };
            let earlier = news.said.iter().rev().find(|(name, _)| name == device).map(|(_, said)| *said);
            let told = self.told.get(device);
            match (earlier, told) {
                (Some(earlier), _) if said.is_repeat_of(earlier) => return false,
                (None, Some(told)) if said.is_repeat_of(told.presence) => {
                    news.needs = news.needs.max(Some(told.by));
                    return false;
                }
                (Some(_) | None, _) => {}
            }
            news.said.push((device.clone(), said));
            true
        });
        news
    }

    /// The news are in the queue; `by`: their last record.
    pub(super) fn told(&mut self, news: News, by: Seq) {
        for (device, presence) in news.said {
            if self.told.len() >= DEVICES_MAX && !self.told.contains_key(&device) {
                self.told.clear();
            }
            self.told.insert(device, Told { presence, by });
        }
    }

    /// What was told is not known any more.
    pub(super) fn forget(&mut self) {
        self.told.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(device: &str, online: bool, retained: bool) -> Output {
        Output::Presence { device: DeviceName::new(device).unwrap(), online, time: None, retained }
    }

    /// How many of a message's presences are told, and what it needs; all that is told is remembered.
    fn tell(memory: &mut PresenceMemory, outputs: Vec<Output>, by: u64) -> (usize, Option<Seq>) {
        let mut outputs = outputs;
        let news = memory.leave_news(&mut outputs, 0);
        let needs = news.needs;
        memory.told(news, Seq::new(by));
        (outputs.len(), needs)
    }

    #[test]
    fn a_repeat_is_left_out_and_needs_the_record_that_told_it() {
        let mut memory = PresenceMemory::default();
        assert_eq!(tell(&mut memory, vec![presence("a", false, false), presence("b", false, false)], 3), (2, None));
        assert_eq!(tell(&mut memory, vec![presence("a", false, false)], 0), (0, Some(Seq::new(3))));
        assert_eq!(tell(&mut memory, vec![presence("a", false, true)], 0), (0, Some(Seq::new(3))));
        assert_eq!(tell(&mut memory, vec![presence("a", true, false)], 4), (1, None));
        assert_eq!(tell(&mut memory, vec![presence("a", false, false)], 5), (1, None));
    }

    #[test]
    fn a_fresh_message_is_news_after_a_kept_one() {
        let mut memory = PresenceMemory::default();
        assert_eq!(tell(&mut memory, vec![presence("a", true, true)], 1).0, 1);
        assert_eq!(tell(&mut memory, vec![presence("a", true, false)], 2).0, 1);
        assert_eq!(tell(&mut memory, vec![presence("a", true, true)], 3).0, 0);
    }

    #[test]
    fn changes_within_one_message_are_all_told() {
        let mut memory = PresenceMemory::default();
        let changes = || [true, true, false, true].map(|online| presence("a", online, false)).to_vec();
        assert_eq!(tell(&mut memory, changes(), 1).0, 3);
        assert_eq!(tell(&mut memory, changes(), 4), (2, Some(Seq::new(1))));
    }

    #[test]
    fn a_loss_in_the_queue_and_too_many_devices_make_repeats_news_again() {
        let mut memory = PresenceMemory::default();
        tell(&mut memory, vec![presence("a", true, false)], 1);
        let mut outputs = vec![presence("a", true, false)];
        memory.leave_news(&mut outputs, 1);
        assert_eq!(outputs.len(), 1);
        let mut memory = PresenceMemory::default();
        for device in 0..=DEVICES_MAX {
            tell(&mut memory, vec![presence(&format!("device {device}"), true, false)], 1);
        }
        assert_eq!(memory.told.len(), 1);
    }
}
