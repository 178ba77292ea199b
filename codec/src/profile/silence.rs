//! `stale_after`: how long a device may be silent before it is taken for gone.

use std::ops::RangeInclusive;
use std::time::Duration;

use lockgate_config::{Item, Raw};
use lockgate_proto::ids::DeviceName;

use super::reading::noted;
use crate::mapping::Pattern;

/// What can be asked for. The longest: a meter that speaks once a year.
const SILENCE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(400 * 86_400);

/// What stands for "for ever".
const NEVER: &str = "never";

/// By patterns of names of devices; the first that matches counts.
#[derive(Debug, Default)]
pub(super) struct Silences(Vec<(Pattern, Silence)>);

/// How long a device may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    ForEver,
    Until(Duration),
}

impl Silences {
    /// One duration for all devices, or a table of patterns.
    pub(super) fn read(item: &Item<'_>) -> Option<Silences> {
        if !matches!(item.raw()?, Raw::Table(_)) {
            let all = Pattern::parse("(?s:.*)").ok()?;
            return Some(Silences(vec![(all, silence(item)?)]));
        }
        item.table(|table| {
            let one = |(name, item): (&str, Item<'_>)| Some((noted(&item, Pattern::parse(name))?, silence(&item)?));
            // All are read before the first fault counts.
            let read: Vec<_> = table.items().into_iter().map(one).collect();
            read.into_iter().collect::<Option<_>>().map(Silences)
        })
    }

    /// What these say stands before what the others say.
    pub(super) fn over(mut self, mut below: Silences) -> Silences {
        self.0.append(&mut below.0);
        self
    }

    pub(super) fn of(&self, device: &DeviceName) -> Option<Duration> {
        let (_, silence) = self.0.iter().find(|(pattern, _)| pattern.matches(device.as_str()))?;
        match silence {
            Silence::ForEver => None,
            Silence::Until(span) => Some(*span),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, silence)| *silence == Silence::ForEver)
    }
}

fn silence(item: &Item<'_>) -> Option<Silence> {
    let is_never = matches!(item.raw()?, Raw::Text(NEVER));
    if is_never { Some(Silence::ForEver) } else { item.duration(SILENCE).map(Silence::Until) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lockgate_config::{Document, Problems};

    use super::super::{Input, Profile};
    use super::*;

    const PROFILE: &str = "framing = \"lines\"\ndecode = \"json\"\nvalue = [{ keys = \".*\" }]\n";

    fn over(own: &str, base: &str) -> Result<Arc<Profile>, Vec<String>> {
        let problems = Problems::new();
        let base = format!("{PROFILE}{base}");
        let base = Document::parse("base", &base, &problems);
        let document = Document::parse("own", own, &problems);
        let profile = document.check(|table| Profile::check(Input::Stream, table, Some(&base.root())));
        problems.into_result(profile).map_err(|problems| {
            problems
                .list()
                .iter()
                .map(|problem| format!("{} {}; {}", problem.line, problem.title(), problem.fix))
                .collect()
        })
    }

    fn seconds(profile: &Profile, device: &str) -> Option<u64> {
        profile.stale_after(&DeviceName::new(device).unwrap()).map(|silence| silence.as_secs())
    }

    #[test]
    fn no_device_is_stale_unless_somebody_says_when() {
        let profile = over("", "").unwrap();
        assert_eq!((profile.has_stale_after(), seconds(&profile, "door")), (false, None));
        let profile = over("stale_after = \"never\"", "stale_after = \"5min\"").unwrap();
        assert_eq!(seconds(&profile, "door"), None);
    }

    #[test]
    fn the_sources_own_words_go_before_those_of_its_profile_device_by_device() {
        let profile = over("stale_after = { 'door.*' = \"25h\", tank = \"never\" }", "stale_after = \"5min\"").unwrap();
        assert!(profile.has_stale_after());
        assert_eq!(seconds(&profile, "door 2"), Some(25 * 3_600));
        assert_eq!(seconds(&profile, "tank"), None);
        assert_eq!(seconds(&profile, "backdoor"), Some(300));
        let profile = over("stale_after = \"1h\"", "stale_after = { a = \"2s\" }").unwrap();
        assert_eq!(seconds(&profile, "a"), Some(3_600));
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let faults = over("[stale_after]\na = \"1ms\"\n'(' = \"1h\"\nb = 5\n", "").unwrap_err();
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].contains("stale_after.a") && faults[0].contains("give a duration from 1s"), "{faults:?}");
        assert!(faults[1].contains("regular expression"), "{faults:?}");
    }
}
