//! A ledger adds up, tells what vanished, and never takes the same twice.

use proptest::prelude::*;

use super::*;
use crate::gap::{GapReason, TimeSpan};
use crate::limits::{LEDGER_EPOCHS_KEPT, LEDGER_EPOCHS_RETIRED_MAX, LEDGER_GAPS_KEPT};
use crate::link::frame::{EpochHeld, LaneHeld};
use crate::time::UnixMicros;

const NOW: UnixMicros = UnixMicros(1_700_000_000_000_000);
const OPEN: u64 = u64::MAX;

fn range(first: u64, last: u64) -> SeqRange {
    SeqRange::new(Seq::new(first), Seq::new(last)).unwrap()
}

fn gap(epoch: u64, first: u64, last: u64, reason: GapReason) -> Gap {
    Gap { epoch: Epoch(epoch), lane: Lane::Telemetry, range: range(first, last), reason, span: TimeSpan::default() }
}

/// An epoch of which the agent holds telemetry up to `last`.
fn held(epoch: u64, last: u64) -> EpochHeld {
    let set = SeqRange::new(Seq::FIRST, Seq::new(last)).into_iter().collect();
    EpochHeld { epoch: Epoch(epoch), lanes: [LaneHeld::default(), LaneHeld { held: set, last: Seq::new(last) }] }
}

fn open(ledger: &mut Ledger, session: u64, epochs: &[u64]) -> Result<(), Superseded> {
    let epochs: Vec<Epoch> = epochs.iter().copied().map(Epoch).collect();
    ledger.open_session(SessionId(session), &epochs)
}

fn opened(epochs: &[u64]) -> Ledger {
    let mut ledger = Ledger::new();
    open(&mut ledger, 1, epochs).unwrap();
    ledger
}

fn store(ledger: &mut Ledger, epoch: u64, seqs: std::ops::RangeInclusive<u64>) {
    for seq in seqs {
        ledger.store(Epoch(epoch), Lane::Telemetry, Seq::new(seq));
    }
}

fn settled(ledger: &Ledger, epoch: u64) -> Vec<SeqRange> {
    ledger.settled(Epoch(epoch), Lane::Telemetry).ranges().to_vec()
}

fn orders(ledger: &Ledger, epochs: &[u64]) -> Vec<u64> {
    epochs.iter().filter_map(|epoch| ledger.order(Epoch(*epoch))).collect()
}

fn assert_sums_hold(ledger: &Ledger) {
    let totals = ledger.totals();
    assert_eq!(totals.produced, totals.stored + totals.lost_sum().records + totals.pending, "{totals:?}");
}

#[test]
fn epochs_are_numbered_as_they_are_heard_of() {
    let mut ledger = opened(&[1, 2]);
    open(&mut ledger, 2, &[1, 2, 3, 4]).unwrap();
    assert!(orders(&ledger, &[1, 2, 3, 4]).is_sorted());
}

#[test]
fn an_epoch_first_heard_of_after_a_later_one_is_older_than_all() {
    let mut ledger = opened(&[5]);
    open(&mut ledger, 2, &[2, 3, 5, 6]).unwrap();
    assert!(orders(&ledger, &[2, 3, 5, 6]).is_sorted());
    // A copy of the card was elsewhere meanwhile: what it had there is older than what is shown.
    open(&mut ledger, 3, &[5, 7, 8]).unwrap();
    assert!(orders(&ledger, &[7, 2, 3, 5, 6, 8]).is_sorted());
}

#[test]
fn of_two_holders_of_one_identity_only_the_latest_gets_in() {
    let mut ledger = opened(&[1, 2]);
    open(&mut ledger, 2, &[1, 3]).unwrap();
    assert_eq!(open(&mut ledger, 3, &[1, 2]), Err(Superseded));
    assert_eq!(ledger.session(), Some(SessionId(2)));
    open(&mut ledger, 4, &[1, 2, 4]).unwrap();
    assert_eq!(open(&mut ledger, 5, &[1, 3]), Err(Superseded));
    assert_eq!(open(&mut ledger, 6, &[]), Err(Superseded));
}

#[test]
fn opening_the_same_session_again_changes_nothing() {
    let mut ledger = opened(&[1]);
    ledger.advance();
    let before = ledger.clone();
    open(&mut ledger, 1, &[1]).unwrap();
    assert_eq!(ledger, before);
}

#[test]
fn a_step_is_applied_once_and_only_to_its_own_history() {
    let mut ledger = opened(&[1]);
    let mut first = ledger.clone();
    first.advance();
    let mut second = first.clone();
    second.advance();
    assert_eq!(ledger.fence(&second), Fence::Refuse);
    assert_eq!(ledger.fence(&first), Fence::Apply);
    assert_eq!(first.fence(&first), Fence::Repeat);
    assert_eq!(first.fence(&second), Fence::Apply);
    assert_eq!(second.fence(&first), Fence::Refuse);
    // Another session comes, and the request that opened the first one runs again behind it.
    open(&mut first, 2, &[1]).unwrap();
    open(&mut first, 1, &[1]).unwrap();
    assert_eq!(first.fence(&second), Fence::Refuse);
    open(&mut ledger, 2, &[1]).unwrap();
    open(&mut ledger, 1, &[1]).unwrap();
    let mut stale = opened(&[1]);
    stale.advance();
    assert_eq!(ledger.fence(&stale), Fence::Refuse);
    assert_eq!(Ledger::new().fence(&Ledger::new()), Fence::Refuse);
}

#[test]
fn a_record_inside_a_gap_withdraws_that_part() {
    let mut ledger = opened(&[1, 2]);
    assert_eq!(ledger.lose(&gap(1, 3, OPEN, GapReason::Power)).len(), 1);
    assert_eq!(ledger.store(Epoch(1), Lane::Telemetry, Seq::new(5)), Stored::Withdraws(gap(1, 5, 5, GapReason::Power)));
    assert_eq!(ledger.store(Epoch(1), Lane::Telemetry, Seq::new(5)), Stored::Known);
    assert_eq!(ledger.gaps(), [gap(1, 3, 4, GapReason::Power), gap(1, 6, OPEN, GapReason::Power)]);
    let totals = ledger.totals();
    assert_eq!((totals.produced, totals.stored, totals.pending), (5, 1, 2));
    assert_eq!((totals.lost_to(GapReason::Power).records, totals.lost_to(GapReason::Power).unbounded), (2, 1));
}

#[test]
fn a_gap_takes_only_what_is_neither_stored_nor_lost() {
    let mut ledger = opened(&[1]);
    store(&mut ledger, 1, 2..=3);
    assert_eq!(
        ledger.lose(&gap(1, 1, 5, GapReason::Evicted)),
        [gap(1, 1, 1, GapReason::Evicted), gap(1, 4, 5, GapReason::Evicted)]
    );
    assert_eq!(ledger.lose(&gap(1, 1, 6, GapReason::Corrupt)), [gap(1, 6, 6, GapReason::Corrupt)]);
    assert_eq!(ledger.lose(&gap(9, 1, 6, GapReason::Corrupt)), []);
}

#[test]
fn an_epoch_that_vanished_before_its_end_was_heard_is_wiped_with_an_open_end() {
    let mut ledger = opened(&[1]);
    ledger.hear(&[held(1, 9)], &[], NOW).unwrap();
    store(&mut ledger, 1, 1..=4);
    open(&mut ledger, 2, &[2]).unwrap();
    let news = ledger.hear(&[held(2, 0)], &[], NOW).unwrap().lost;
    assert_eq!(
        news.iter().map(|gap| (gap.range, gap.reason)).collect::<Vec<_>>(),
        [(range(1, OPEN), GapReason::Wiped), (range(5, OPEN), GapReason::Wiped)]
    );
    assert_eq!(ledger.hear(&[held(2, 0)], &[], NOW), Ok(Heard::default()));
    assert_sums_hold(&ledger);
}

#[test]
fn an_epoch_that_vanished_after_its_end_was_heard_is_wiped_up_to_there() {
    let mut ledger = opened(&[1, 2]);
    ledger.hear(&[held(1, 9), held(2, 0)], &[], NOW).unwrap();
    let news = ledger.hear(&[held(2, 0)], &[], NOW).unwrap().lost;
    assert_eq!(news.iter().map(|gap| gap.range).collect::<Vec<_>>(), [range(1, 9)]);
}

#[test]
fn an_agent_that_comes_back_after_another_one_used_its_identity_ends_what_was_wiped() {
    let mut ledger = opened(&[1]);
    ledger.hear(&[held(1, 9)], &[], NOW).unwrap();
    store(&mut ledger, 1, 1..=4);
    open(&mut ledger, 2, &[2]).unwrap();
    ledger.hear(&[held(2, 0)], &[], NOW).unwrap();
    open(&mut ledger, 3, &[1, 3]).unwrap();

    let heard = ledger.hear(&[held(1, 12), held(3, 0)], &[], NOW).unwrap();
    let wiped = |lane, first| Gap {
        lane,
        span: TimeSpan { from: None, to: Some(NOW) },
        ..gap(1, first, OPEN, GapReason::Wiped)
    };
    assert_eq!(heard.withdrawn, [wiped(Lane::Events, 1), wiped(Lane::Telemetry, 13)]);
    // The other agent's epoch is what has vanished now.
    assert!(heard.lost.iter().all(|gap| gap.epoch == Epoch(2)), "{heard:?}");
    assert_eq!(settled(&ledger, 1), [range(1, 12)]);
    assert_eq!(ledger.totals().lost_to(GapReason::Wiped).records, 8);
    store(&mut ledger, 1, 5..=12);
    assert_eq!(ledger.gaps().iter().filter(|gap| gap.epoch == Epoch(1)).count(), 0);
    assert_sums_hold(&ledger);
    assert_eq!(ledger.hear(&[held(1, 12), held(3, 0)], &[], NOW), Ok(Heard::default()));
}

#[test]
fn who_knows_less_of_a_wiped_epoch_than_the_ledger_does_not_end_it() {
    let mut ledger = opened(&[1]);
    ledger.hear(&[held(1, 9)], &[], NOW).unwrap();
    open(&mut ledger, 2, &[2]).unwrap();
    ledger.hear(&[held(2, 0)], &[], NOW).unwrap();
    open(&mut ledger, 3, &[1, 3]).unwrap();
    let heard = ledger.hear(&[held(1, 8), held(3, 0)], &[], NOW).unwrap();
    assert!(heard.withdrawn.iter().all(|gap| gap.lane == Lane::Events), "{heard:?}");
    assert_eq!(settled(&ledger, 1), [range(1, OPEN)]);
}

#[test]
fn what_a_power_loss_explains_is_not_wiped() {
    let mut ledger = opened(&[1]);
    ledger.hear(&[held(1, 9)], &[], NOW).unwrap();
    store(&mut ledger, 1, 1..=8);
    open(&mut ledger, 2, &[1, 2]).unwrap();
    let mut power = vec![gap(1, 6, OPEN, GapReason::Power)];
    power.push(Gap { lane: Lane::Events, ..gap(1, 1, OPEN, GapReason::Power) });
    let news = ledger.hear(&[held(1, 5), held(2, 0)], &power, NOW).unwrap().lost;
    assert!(news.iter().all(|gap| gap.reason == GapReason::Power));
    assert_eq!(settled(&ledger, 1), [range(1, OPEN)]);
}

#[test]
fn a_queue_that_went_back_without_a_word_is_told_as_wiped() {
    let mut ledger = opened(&[1]);
    ledger.hear(&[held(1, 9)], &[], NOW).unwrap();
    store(&mut ledger, 1, 1..=8);
    open(&mut ledger, 2, &[1, 2]).unwrap();
    let news = ledger.hear(&[held(1, 5), held(2, 0)], &[], NOW).unwrap().lost;
    assert_eq!(news.iter().map(|gap| gap.range).collect::<Vec<_>>(), [range(9, OPEN)]);
}

#[test]
fn numbers_of_the_current_epoch_never_go_back() {
    let mut ledger = opened(&[1]);
    ledger.hear(&[held(1, 9)], &[], NOW).unwrap();
    let went_back = HearError::WentBack { lane: Lane::Telemetry, known: Seq::new(9), told: Seq::new(8) };
    assert_eq!(ledger.hear(&[held(1, 8)], &[], NOW), Err(went_back));
    assert_eq!(ledger.hear(&[held(1, 9)], &[gap(1, 10, OPEN, GapReason::Power)], NOW), Err(HearError::OpenEnd));
}

#[test]
fn epochs_that_are_over_are_folded_and_their_sums_stay() {
    let mut ledger = Ledger::new();
    let starts = (LEDGER_EPOCHS_KEPT + LEDGER_EPOCHS_RETIRED_MAX + 20) as u64;
    for epoch in 1..=starts {
        open(&mut ledger, epoch, &[epoch]).unwrap();
        ledger.hear(&[held(epoch, 3)], &[], NOW).unwrap();
        store(&mut ledger, epoch, 1..=2);
    }
    assert!(ledger.epochs.len() <= LEDGER_EPOCHS_KEPT + 1);
    assert_eq!(ledger.retired.len(), LEDGER_EPOCHS_RETIRED_MAX);
    let totals = ledger.totals();
    assert_eq!((totals.produced, totals.stored, totals.pending), (3 * starts, 2 * starts, 1));
    assert_eq!(totals.lost_to(GapReason::Wiped).records, starts - 1);
    assert_sums_hold(&ledger);
    // Put back after all: nothing of a folded epoch is stored again.
    let retired = ledger.retired[0].0;
    open(&mut ledger, 9_999, &[retired, starts, 9_999]).unwrap();
    assert_eq!(settled(&ledger, retired), [range(1, OPEN)]);
    assert!(!ledger.wants(Epoch(retired), Lane::Telemetry, Seq::FIRST));
    assert_eq!(open(&mut ledger, 10_000, &[retired]), Err(Superseded));
}

#[test]
fn many_gaps_stay_bounded_and_their_sums_stay() {
    let mut ledger = opened(&[1]);
    let pairs = 10 * LEDGER_GAPS_KEPT as u64;
    for pair in 0..pairs {
        ledger.lose(&gap(1, 2 * pair + 1, 2 * pair + 1, GapReason::Rejected));
        store(&mut ledger, 1, 2 * pair + 2..=2 * pair + 2);
    }
    assert!(ledger.gaps().len() <= 2 * LEDGER_GAPS_KEPT);
    assert_eq!(settled(&ledger, 1), [range(1, 2 * pairs)]);
    let totals = ledger.totals();
    assert_eq!((totals.stored, totals.lost_to(GapReason::Rejected).records), (pairs, pairs));
    assert_sums_hold(&ledger);
    assert_eq!(ledger.store(Epoch(1), Lane::Telemetry, Seq::FIRST), Stored::Known);
    assert_eq!(Ledger::from_bytes(&ledger.to_bytes()), Ok(ledger));
}

#[derive(Clone, Debug)]
enum Change {
    Open(u64, Vec<u64>),
    Hear(Vec<(u64, u64)>),
    Store(u64, u64),
    Lose(u64, u64, u64, usize),
}

fn any_change() -> impl Strategy<Value = Change> {
    let epochs = || prop::collection::vec(1u64..6, 1..4);
    prop_oneof![
        (any::<u64>(), epochs()).prop_map(|(session, epochs)| Change::Open(session, epochs)),
        prop::collection::vec((1u64..6, 0u64..30), 1..4).prop_map(Change::Hear),
        (1u64..6, 0u64..30).prop_map(|(epoch, seq)| Change::Store(epoch, seq)),
        (1u64..6, 1u64..30, prop_oneof![0u64..9, Just(OPEN)], 0usize..6)
            .prop_map(|(epoch, first, more, reason)| Change::Lose(epoch, first, more, reason)),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_sums_hold_and_the_stored_form_is_the_same(changes in prop::collection::vec(any_change(), 0..60)) {
        let mut ledger = Ledger::new();
        for change in changes {
            match change {
                Change::Open(session, mut epochs) => {
                    epochs.dedup();
                    let refused = open(&mut ledger, session, &epochs);
                    prop_assert!(refused.is_err() || ledger.knows(Epoch(*epochs.last().unwrap())));
                }
                Change::Hear(epochs) => {
                    let epochs: Vec<EpochHeld> = epochs.iter().map(|(epoch, last)| held(*epoch, *last)).collect();
                    let before = ledger.clone();
                    if ledger.hear(&epochs, &[], NOW).is_err() {
                        ledger = before;
                    }
                }
                Change::Store(epoch, seq) => {
                    let wanted = ledger.wants(Epoch(epoch), Lane::Telemetry, Seq::new(seq));
                    let stored = ledger.store(Epoch(epoch), Lane::Telemetry, Seq::new(seq));
                    prop_assert_eq!(stored != Stored::Known, wanted);
                }
                Change::Lose(epoch, first, more, reason) => {
                    let gap = gap(epoch, first, first.saturating_add(more), GapReason::ALL[reason]);
                    ledger.lose(&gap);
                    prop_assert_eq!(ledger.lose(&gap), []);
                }
            }
            assert_sums_hold(&ledger);
            prop_assert_eq!(&Ledger::from_bytes(&ledger.to_bytes()), &Ok(ledger.clone()));
            let order: Vec<u64> = ledger.epochs.iter().map(|epoch| epoch.order).collect();
            prop_assert!(order.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn no_bytes_make_a_ledger_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(mut ledger) = Ledger::from_bytes(&bytes) {
            ledger.totals();
            store(&mut ledger, 1, 1..=3);
        }
    }
}
