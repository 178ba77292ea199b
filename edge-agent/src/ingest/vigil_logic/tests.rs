//! One device looked at every second: what is told of it, and when.

use proptest::prelude::*;

use super::*;

const T0: MonoTime = MonoTime(Duration::from_secs(1_000));
const MINUTE: Duration = Duration::from_secs(60);

fn name(device: &str) -> DeviceName {
    DeviceName::new(device).unwrap()
}

/// A vigil over one device that may be silent for a minute, looked at every second.
struct One {
    vigil: Vigil,
    now: MonoTime,
    told: Vec<bool>,
}

impl One {
    fn new() -> One {
        One { vigil: Vigil::default(), now: T0, told: Vec::new() }
    }

    fn with(&mut self, act: impl FnOnce(&mut Vigil, &Of<'_>, MonoTime)) {
        let (device, source) = (name("door"), "zigbee".into());
        act(&mut self.vigil, &Of { device: &device, source: &source, stale_after: MINUTE }, self.now);
        self.look();
    }

    fn heard(&mut self) {
        self.with(|vigil, of, now| {
            vigil.heard(of, now);
        });
    }

    /// A message that says that it is there.
    fn is_there(&mut self) {
        self.with(|vigil, of, now| {
            vigil.heard(of, now);
            vigil.said(of, true, now);
        });
    }

    fn is_gone(&mut self) {
        self.with(|vigil, of, now| vigil.said(of, false, now));
    }

    fn look(&mut self) {
        self.told.extend(self.vigil.take_due(self.now).into_iter().map(|turn| turn.online));
    }

    fn pass(&mut self, span: Duration) {
        for _ in 0..span.as_secs() {
            self.now = self.now + Duration::from_secs(1);
            self.look();
        }
    }
}

#[test]
fn a_device_is_told_when_it_is_heard_first_when_it_falls_silent_and_when_it_is_heard_again() {
    let mut one = One::new();
    one.heard();
    one.pass(Duration::from_secs(59));
    one.heard();
    one.pass(Duration::from_secs(59));
    assert_eq!(one.told, [true]);
    one.pass(Duration::from_secs(1));
    assert_eq!(one.told, [true, false]);
    one.pass(MINUTE * 10);
    one.heard();
    one.heard();
    assert_eq!(one.told, [true, false, true]);
}

#[test]
fn a_known_device_that_does_not_come_is_stale_and_not_before_its_time() {
    let mut one = One::new();
    one.with(Vigil::expect);
    one.pass(Duration::from_secs(59));
    assert!(one.told.is_empty(), "nobody has heard it: {:?}", one.told);
    assert_eq!(one.vigil.known().len(), 1);
    one.pass(MINUTE);
    assert_eq!(one.told, [false]);
    assert!(one.vigil.known().is_empty(), "a next start has nothing to tell of it");
}

#[test]
fn of_a_device_that_said_that_it_is_gone_nothing_is_told_until_it_says_that_it_is_there() {
    let mut one = One::new();
    one.heard();
    one.is_gone();
    one.heard();
    one.pass(MINUTE * 3);
    assert_eq!(one.told, [true]);
    one.is_there();
    one.pass(MINUTE);
    one.heard();
    assert_eq!(one.told, [true, false, true]);
}

#[test]
fn what_the_device_says_of_a_stale_one_is_not_said_again() {
    let mut one = One::new();
    one.with(Vigil::expect);
    one.pass(MINUTE);
    one.is_there();
    one.pass(MINUTE / 2);
    assert_eq!(one.told, [false]);
}

#[test]
fn an_agent_that_did_not_run_takes_nobody_for_silent() {
    let mut one = One::new();
    one.heard();
    one.pass(MINUTE / 2);
    one.now = one.now + MINUTE * 60;
    one.look();
    one.pass(Duration::from_secs(28));
    assert_eq!(one.told, [true]);
    one.pass(Duration::from_secs(2));
    assert_eq!(one.told, [true, false]);
}

#[test]
fn what_could_not_be_told_is_told_as_it_is_by_then() {
    let mut one = One::new();
    one.heard();
    one.now = one.now + Duration::from_secs(2);
    let stale = [Turn { device: name("door"), online: false }];
    one.vigil.failed(&stale);
    one.look();
    assert_eq!(one.told, [true], "it was not told to be stale");
    one.vigil.failed(&[Turn { device: name("door"), online: true }]);
    one.look();
    assert_eq!(one.told, [true, true]);
}

#[test]
fn devices_beyond_the_bound_are_counted_and_not_watched() {
    let (mut vigil, source) = (Vigil::default(), "zigbee".into());
    let mut told = 0;
    for at in 0..DEVICES_MAX + 2 {
        let device = name(&format!("device {at}"));
        vigil.heard(&Of { device: &device, source: &source, stale_after: MINUTE }, T0);
    }
    loop {
        let turns = vigil.take_due(T0);
        assert!(turns.len() <= TURNS_MAX);
        told += turns.len();
        if turns.is_empty() {
            break;
        }
    }
    assert_eq!((told, vigil.take_left_out(), vigil.take_left_out()), (DEVICES_MAX, 2, 0));
}

proptest! {
    /// Whatever happens, what was told last is the truth at each look, and nothing is told twice.
    #[test]
    fn what_was_told_last_is_true(steps in prop::collection::vec((1u64..90, any::<bool>()), 1..60)) {
        let mut one = One::new();
        let mut heard: Option<MonoTime> = None;
        for (seconds, speaks) in steps {
            one.pass(Duration::from_secs(seconds));
            if speaks {
                one.heard();
                heard = Some(one.now);
            }
            let truth = heard.map(|heard| one.now.since(heard) < MINUTE);
            prop_assert_eq!(one.told.last().copied(), truth);
            prop_assert!(one.told.windows(2).all(|pair| pair[0] != pair[1]), "{:?}", one.told);
        }
    }
}
