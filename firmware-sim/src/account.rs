//! Settles a journal against what a store holds: produced = stored + unheard + lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use crate::journal::{Line, VerdictWord};

/// A line of a journal or of a store's list cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("line {number} is not what it should be")]
pub struct BadLine {
    /// Counted from 1.
    pub number: usize,
    /// Why.
    pub source: serde_json::Error,
}

/// A sample as a store has it: one line of JSON, other keys aside.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Stored {
    /// The device's name.
    pub device: Arc<str>,
    /// The sample's number.
    pub n: u64,
}

/// Reads what a store holds: a line for each copy of each sample. Empty lines are left out.
pub fn read_stored(text: &str) -> Result<Vec<Stored>, BadLine> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| serde_json::from_str(line).map_err(|source| BadLine { number: index + 1, source }))
        .collect()
}

#[derive(Clone, Debug, Default)]
struct Fate {
    spoiled: bool,
    verdict: Option<VerdictWord>,
    repeats: u64,
}

/// What the devices of a run know of their samples.
#[derive(Clone, Debug, Default)]
pub struct Account {
    devices: BTreeMap<Arc<str>, BTreeMap<u64, Fate>>,
}

/// The result of holding an [`Account`] against a store. Spoiled samples are counted apart and nowhere else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Samples taken: stored + unheard + lost.
    pub produced: u64,
    /// Not stored, and no reader is to be blamed: ruled `unheard` or `cut`.
    pub unheard: u64,
    /// The part of `unheard` that was ruled `cut`. More than a few for each death of a reader is suspect.
    pub cut: u64,
    /// Found in the store at least once.
    pub stored: u64,
    /// Heard (or without a verdict, if the simulator was killed) and not stored.
    pub lost: Vec<(Arc<str>, u64)>,
    /// Stored more often than the device sent it.
    pub doubled: Vec<(Arc<str>, u64)>,
    /// Stored once more for each time that the device itself had to repeat it.
    pub repeated: u64,
    /// Made unreadable by a fault.
    pub spoiled: u64,
    /// In the store, though spoiled or never produced: garbage was taken for a reading.
    pub invented: Vec<(Arc<str>, u64)>,
}

impl Account {
    /// Reads a journal. A last line that was cut short (the simulator was killed) is left out.
    pub fn read(text: &str) -> Result<Account, BadLine> {
        let mut account = Account::default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            if !line.ends_with('\n') {
                break;
            }
            let line = serde_json::from_str(line).map_err(|source| BadLine { number: index + 1, source })?;
            account.apply(line);
        }
        Ok(account)
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Produced { device, n, spoiled, .. } => self.fate(device, n).spoiled = spoiled.is_some(),
            Line::Verdict { device, n, verdict } => self.fate(device, n).verdict = Some(verdict),
            Line::Repeated { device, n } => self.fate(device, n).repeats += 1,
            // Of orders, and not of samples.
            Line::Executed { .. } => {}
        }
    }

    fn fate(&mut self, device: Arc<str>, n: u64) -> &mut Fate {
        self.devices.entry(device).or_default().entry(n).or_default()
    }

    /// How many samples the journal tells of, spoiled ones left out.
    pub fn produced(&self) -> u64 {
        let count = self.devices.values().flat_map(BTreeMap::values).filter(|fate| !fate.spoiled).count();
        u64::try_from(count).expect("a count of things in memory")
    }

    /// Settles the account against every (device, n) in the store, each as often as it stands there.
    pub fn settle<'a>(&self, stored: impl IntoIterator<Item = (&'a str, u64)>) -> Summary {
        let mut summary = Summary::default();
        let mut copies: BTreeMap<(&str, u64), u64> = BTreeMap::new();
        for (device, n) in stored {
            *copies.entry((device, n)).or_default() += 1;
        }
        for (device, fates) in &self.devices {
            for (&n, fate) in fates {
                let copies = copies.remove(&(device.as_ref(), n)).unwrap_or(0);
                summary.add(device, n, fate, copies);
            }
        }
        summary.invented.extend(copies.into_keys().map(|(device, n)| (Arc::from(device), n)));
        summary
    }
}

impl Summary {
    fn add(&mut self, device: &Arc<str>, n: u64, fate: &Fate, copies: u64) {
        if fate.spoiled {
            self.spoiled += 1;
            if copies > 0 {
                self.invented.push((device.clone(), n));
            }
            return;
        }
        self.produced += 1;
        match (copies, fate.verdict) {
            (0, Some(VerdictWord::Unheard)) => self.unheard += 1,
            (0, Some(VerdictWord::Cut)) => {
                self.unheard += 1;
                self.cut += 1;
            }
            (0, Some(VerdictWord::Heard) | None) => self.lost.push((device.clone(), n)),
            (1.., _) => self.stored += 1,
        }
        let beyond_first = copies.saturating_sub(1);
        self.repeated += beyond_first.min(fate.repeats);
        if beyond_first > fate.repeats {
            self.doubled.push((device.clone(), n));
        }
    }

    /// All counts as one JSON object, with the first `named_max` samples of each fault by name.
    pub fn to_json(&self, named_max: usize) -> serde_json::Value {
        let named = |samples: &[(Arc<str>, u64)]| -> Vec<String> {
            samples.iter().take(named_max).map(|(device, n)| format!("{device} {n}")).collect()
        };
        serde_json::json!({
            "produced": self.produced,
            "stored": self.stored,
            "unheard": self.unheard,
            "cut": self.cut,
            "lost": self.lost.len(),
            "doubled": self.doubled.len(),
            "invented": self.invented.len(),
            "repeated": self.repeated,
            "spoiled": self.spoiled,
            "lost_samples": named(&self.lost),
            "doubled_samples": named(&self.doubled),
            "invented_samples": named(&self.invented),
        })
    }

    /// Whether the system kept its promise: nothing lost, nothing doubled, nothing invented.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.invented.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOURNAL: &str = r#"{"kind":"produced","device":"a","n":1,"at":"2025-05-20T07:00:00Z","via":"serial"}
{"kind":"verdict","device":"a","n":1,"verdict":"heard"}
{"kind":"produced","device":"a","n":2,"at":"2025-05-20T07:00:01Z","via":"serial"}
{"kind":"verdict","device":"a","n":2,"verdict":"unheard"}
{"kind":"produced","device":"a","n":3,"at":"2025-05-20T07:00:02Z","via":"serial"}
{"kind":"verdict","device":"a","n":3,"verdict":"cut"}
{"kind":"produced","device":"a","n":4,"at":"2025-05-20T07:00:03Z","via":"serial","spoiled":"bit_error"}
{"kind":"produced","device":"b","n":1,"at":"2025-05-20T07:00:03Z","via":"mqtt"}
{"kind":"repeated","device":"b","n":1}
{"kind":"verdict","device":"b","n":1,"verdict":"heard"}
{"kind":"produced","device":"b","n":2,"at":"2025-05"#;

    fn settle(stored: &[(&str, u64)]) -> Summary {
        Account::read(JOURNAL).unwrap().settle(stored.iter().copied())
    }

    #[test]
    fn produced_is_stored_and_unheard_and_lost() {
        let summary = settle(&[("a", 1), ("b", 1)]);
        assert_eq!((summary.produced, summary.stored, summary.unheard, summary.cut, summary.spoiled), (4, 2, 2, 1, 1));
        assert!(summary.is_clean());
        assert_eq!(settle(&[("b", 1)]).lost, [("a".into(), 1)]);
    }

    #[test]
    fn a_cut_sample_that_was_stored_counts_as_stored() {
        let summary = settle(&[("a", 1), ("a", 3), ("b", 1)]);
        assert_eq!((summary.stored, summary.unheard, summary.cut), (3, 1, 0));
    }

    #[test]
    fn a_second_copy_is_a_double_unless_the_device_repeated_itself() {
        let summary = settle(&[("a", 1), ("b", 1), ("b", 1)]);
        assert_eq!((summary.doubled.len(), summary.repeated), (0, 1));
        assert_eq!(
            settle(&[("a", 1), ("a", 1), ("b", 1), ("b", 1), ("b", 1)]).doubled,
            [("a".into(), 1), ("b".into(), 1)]
        );
    }

    #[test]
    fn the_counts_are_printed_and_faults_are_named() {
        let stored = read_stored("{\"device\":\"b\",\"n\":1,\"value\":3}\n\n{\"device\":\"b\",\"n\":1}\n").unwrap();
        let summary = settle(&stored.iter().map(|sample| (&*sample.device, sample.n)).collect::<Vec<_>>());
        let json = summary.to_json(10);
        assert_eq!((&json["produced"], &json["stored"], &json["lost"]), (&4.into(), &1.into(), &1.into()));
        assert_eq!(json["lost_samples"], serde_json::json!(["a 1"]));
        assert_eq!(read_stored("{}\n").unwrap_err().number, 1);
    }

    #[test]
    fn what_nobody_said_or_nobody_could_understand_is_invented() {
        assert_eq!(settle(&[("a", 1), ("a", 4), ("b", 1), ("c", 9)]).invented, [("a".into(), 4), ("c".into(), 9)]);
    }
}
