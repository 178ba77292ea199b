//! The gateway's end, input by input: steps, answers, rejected and found records.

use super::*;
use crate::command::{BootId, JournalHeard, JournalId, JournalMark};
use crate::convert::encode_record;
use crate::gap::{Gap, GapReason, TimeSpan};
use crate::ids::{DeviceName, MetricName, Site};
use crate::limits::{PUBLISH_GAPS_MAX, PUBLISH_RECORDS_MAX, STEP_ENTRIES_TARGET};
use crate::link::frame::{EpochHeld, Hello, LaneHeld, Publish, SequencedRecord, Welcome};
use crate::ranges::{RangeSet, SeqRange};
use crate::reading::{Quality, Value};
use crate::record::{Record, Telemetry};
use crate::seq::{Lane, Seq};

const OLD: Epoch = Epoch(1);
const CURRENT: Epoch = Epoch(2);
const T: Lane = Lane::Telemetry;

fn now(millis: u64) -> Now {
    let mono = MonoTime(Duration::from_millis(millis));
    Now { mono, wall: UnixMicros(1_700_000_000_000_000).offset_by(mono.micros()) }
}

fn reading(metric: &str, value: i64) -> Reading {
    Reading {
        metric: MetricName::new(metric).unwrap(),
        unit: None,
        value: Value::Integer(value),
        sampled_at: UnixMicros(1_700_000_000_000_000),
        quality: Quality::Good,
    }
}

fn record(seq: u64, readings: Vec<Reading>, historical: bool) -> SequencedRecord {
    let telemetry = Telemetry { device: DeviceName::new("pump").unwrap(), readings, historical };
    SequencedRecord { seq: Seq::new(seq), record: encode_record(&Record::Telemetry(telemetry)) }
}

fn plain(seqs: &[u64]) -> Vec<SequencedRecord> {
    seqs.iter().map(|seq| record(*seq, vec![reading("level", 1)], false)).collect()
}

fn publish(epoch: Epoch, records: Vec<SequencedRecord>, gaps: Vec<Gap>) -> Publish {
    let last = records.last().map_or(Seq::NONE, |record| record.seq);
    Publish { epoch, lane: T, records, backlog: false, gaps, last }
}

fn held(epoch: Epoch, ranges: &[(u64, u64)]) -> EpochHeld {
    let held: RangeSet =
        ranges.iter().filter_map(|(first, last)| SeqRange::new(Seq::new(*first), Seq::new(*last))).collect();
    let last = held.last();
    EpochHeld { epoch, lanes: [LaneHeld::default(), LaneHeld { held, last }] }
}

fn lost(epoch: Epoch, first: u64, last: u64) -> Gap {
    let range = SeqRange::new(Seq::new(first), Seq::new(last)).unwrap();
    Gap { epoch, lane: T, range, reason: GapReason::Power, span: TimeSpan::default() }
}

/// A session, and the backbone it speaks to.
struct Desk {
    session: EdgeSession,
    ledger: Ledger,
    steps: Vec<Step>,
    sent: Vec<GatewayFrame>,
    others: Vec<Action>,
}

impl Desk {
    fn new(ledger: Ledger) -> Desk {
        let config = EdgeConfig {
            agent: AgentName::new("edge-1").unwrap(),
            site: Site::new("plant").unwrap(),
            session: SessionId(7),
            retention: Some(Duration::from_secs(3_600)),
            limits: LinkLimits::default(),
        };
        let session = EdgeSession::new(config, now(0), &mut Vec::new());
        Desk { session, ledger, steps: Vec::new(), sent: Vec::new(), others: Vec::new() }
    }

    fn feed(&mut self, millis: u64, input: Input) {
        let mut actions = Vec::new();
        self.session.handle(now(millis), input, &mut actions);
        for action in actions {
            match action {
                Action::Step(step) => self.steps.push(step),
                Action::Send(frame) => self.sent.push(frame),
                other => self.others.push(other),
            }
        }
    }

    fn hello(&mut self, epochs: Vec<EpochHeld>, gaps: Vec<Gap>) {
        self.hello_with(epochs, gaps, None);
    }

    fn hello_with(&mut self, epochs: Vec<EpochHeld>, gaps: Vec<Gap>, journal: Option<JournalMark>) {
        let ids: Vec<Epoch> = epochs.iter().map(|held| held.epoch).collect();
        let agent = AgentName::new("edge-1").unwrap();
        let hello = Hello {
            agent,
            site: None,
            epochs,
            clock: None,
            build: String::new(),
            capabilities: Vec::new(),
            gaps,
            journal,
        };
        self.feed(1, Input::Frame(AgentFrame::Hello(hello)));
        self.ledger.open_session(SessionId(7), &ids).unwrap();
        self.feed(2, Input::Opened(self.ledger.clone()));
    }

    fn publish(&mut self, publish: Publish) {
        self.feed(3, Input::Frame(AgentFrame::Publish(publish)));
    }

    fn done(&mut self) -> Step {
        let step = self.steps.remove(0);
        self.ledger = Ledger::clone(&step.ledger);
        self.feed(4, Input::StepDone);
        step
    }

    fn welcome(&self) -> Option<&Welcome> {
        self.sent.iter().find_map(|frame| if let GatewayFrame::Welcome(welcome) = frame { Some(welcome) } else { None })
    }

    fn acked(&self) -> Vec<RangeSet> {
        let acks =
            self.sent.iter().filter_map(|frame| if let GatewayFrame::Ack(ack) = frame { Some(ack) } else { None });
        acks.flat_map(|ack| &ack.epochs).flat_map(|epoch| &epoch.lanes).map(|(_, set)| set.clone()).collect()
    }

    fn closed(&self) -> Option<CloseCode> {
        self.others.iter().find_map(|action| if let Action::Close { code, .. } = action { Some(*code) } else { None })
    }
}

fn set(ranges: &[(u64, u64)]) -> RangeSet {
    held(OLD, ranges).lanes[T.index()].held.clone()
}

fn kinds(step: &Step) -> Vec<EntryKind> {
    step.entries.iter().map(|entry| entry.kind).collect()
}

#[test]
fn nothing_is_acknowledged_before_it_is_stored() {
    let mut desk = Desk::new(Ledger::new());
    desk.hello(vec![held(CURRENT, &[])], Vec::new());
    assert!(desk.welcome().is_some(), "what changes nothing needs no step");
    desk.publish(publish(CURRENT, plain(&[1, 2]), Vec::new()));
    assert_eq!(desk.acked(), []);
    assert_eq!(desk.steps[0].entries.len(), 2);
    desk.done();
    assert_eq!(desk.acked(), [set(&[(1, 2)])]);
}

#[test]
fn what_comes_while_a_step_runs_goes_with_the_next_one() {
    let mut desk = Desk::new(Ledger::new());
    desk.hello(vec![held(CURRENT, &[])], Vec::new());
    for seq in 1..=4 {
        desk.publish(publish(CURRENT, plain(&[seq]), Vec::new()));
    }
    assert_eq!(desk.steps.len(), 1);
    assert_eq!(desk.done().entries.len(), 1);
    assert_eq!(desk.steps[0].n, 2);
    assert_eq!(desk.done().entries.len(), 3);
    assert_eq!(desk.acked(), [set(&[(1, 1)]), set(&[(1, 4)])]);
}

#[test]
fn a_record_that_comes_twice_is_stored_once_and_acknowledged_twice() {
    let mut desk = Desk::new(Ledger::new());
    desk.hello(vec![held(CURRENT, &[])], Vec::new());
    desk.publish(publish(CURRENT, plain(&[1, 2]), Vec::new()));
    desk.publish(publish(CURRENT, plain(&[2, 3]), Vec::new()));
    desk.publish(publish(CURRENT, plain(&[1, 2, 3]), Vec::new()));
    assert_eq!(desk.done().entries.len(), 2);
    assert_eq!(desk.done().entries.len(), 1);
    desk.publish(publish(CURRENT, plain(&[3]), Vec::new()));
    assert_eq!(desk.done().entries.len(), 0);
    assert_eq!(desk.acked().last(), Some(&set(&[(1, 3)])));
}

#[test]
fn a_step_of_unknown_outcome_is_asked_for_again_as_it_was() {
    let mut desk = Desk::new(Ledger::new());
    desk.hello(vec![held(CURRENT, &[])], Vec::new());
    desk.publish(publish(CURRENT, plain(&[1]), Vec::new()));
    desk.feed(5, Input::StepUnknown);
    desk.publish(publish(CURRENT, plain(&[2]), Vec::new()));
    assert_eq!(desk.steps.len(), 1);
    desk.feed(200, Input::TimerFired);
    assert_eq!(desk.steps.len(), 2);
    assert_eq!(desk.steps[0], desk.steps[1]);
    assert!(Arc::ptr_eq(&desk.steps[0].entries, &desk.steps[1].entries));
    desk.steps.remove(0);
    desk.done();
    assert_eq!(desk.acked(), [set(&[(1, 1)])]);
    assert_eq!(desk.steps[0].n, 2);
}

#[test]
fn a_refused_step_ends_the_session_and_nothing_is_acknowledged() {
    let mut desk = Desk::new(Ledger::new());
    desk.hello(vec![held(CURRENT, &[])], Vec::new());
    desk.publish(publish(CURRENT, plain(&[1]), Vec::new()));
    desk.feed(5, Input::StepRefused);
    assert_eq!((desk.closed(), desk.acked()), (Some(CloseCode::SessionLost), Vec::new()));
    assert!(desk.session.is_closed());
}

#[test]
fn a_record_that_cannot_be_used_becomes_a_gap_and_is_said_to_be_so() {
    let mut desk = Desk::new(Ledger::new());
    desk.hello(vec![held(CURRENT, &[])], Vec::new());
    let mut records = plain(&[1, 2, 3, 4]);
    records[1].record = Bytes::from_static(b"\xff\xff");
    records[2].record = Bytes::from_static(b"");
    desk.publish(publish(CURRENT, records, Vec::new()));
    let step = desk.done();
    assert_eq!(kinds(&step), [EntryKind::Telemetry, EntryKind::Telemetry, EntryKind::Gap]);
    let rejected = desk
        .sent
        .iter()
        .filter_map(|frame| if let GatewayFrame::Reject(reject) = frame { Some(reject.seq.get()) } else { None });
    assert_eq!(rejected.collect::<Vec<_>>(), [2, 3]);
    let alarms: Vec<(u64, u64)> = desk
        .others
        .iter()
        .filter_map(|action| match action {
            Action::Alarm(Alarm::Rejected { records, first }) => Some((*records, first.seq.get())),
            _ => None,
        })
        .collect();
    assert_eq!(alarms, [(2, 2)], "people are told once for all of a step");
    assert_eq!(desk.acked(), [set(&[(1, 4)])]);
    assert_eq!(desk.ledger.totals().lost_to(GapReason::Rejected).records, 2);
}

#[test]
fn a_record_never_overwrites_what_the_gateway_writes_before_it() {
    let mut desk = Desk::new(Ledger::new());
    desk.hello(vec![held(CURRENT, &[])], Vec::new());
    let forged = crate::convert::encode_entry_header(&crate::entry::EntryHeader {
        position: crate::position::Position::START,
        previous: crate::position::Stamp(666),
        received_at: UnixMicros(666),
        origin: None,
    });
    let mut records = plain(&[1, 2]);
    records[0].record = [records[0].record.to_vec(), forged].concat().into();
    records[1].record = [records[1].record.to_vec(), records[1].record.to_vec()].concat().into();
    desk.publish(publish(CURRENT, records, Vec::new()));
    assert_eq!(kinds(&desk.done()), [EntryKind::Gap]);
}

#[test]
fn the_welcome_waits_until_what_the_hello_tells_is_stored() {
    let mut ledger = Ledger::new();
    ledger.open_session(SessionId(1), &[OLD]).unwrap();
    ledger.note_last(OLD, T, Seq::new(9));
    let mut desk = Desk::new(ledger);
    desk.hello(vec![held(CURRENT, &[])], Vec::new());
    assert!(desk.welcome().is_none());
    assert_eq!(kinds(&desk.done()), [EntryKind::Gap, EntryKind::Gap]);
    assert!(desk.welcome().is_some());
}

#[test]
fn what_was_told_as_lost_and_is_held_after_all_is_asked_for_and_withdrawn() {
    let mut ledger = Ledger::new();
    ledger.open_session(SessionId(1), &[OLD, CURRENT]).unwrap();
    ledger.lose(&lost(OLD, 1, 5));
    let mut desk = Desk::new(ledger);
    desk.hello(vec![held(OLD, &[(1, 3), (5, 5)]), held(CURRENT, &[])], Vec::new());
    desk.done();
    let welcome = desk.welcome().unwrap();
    assert_eq!(welcome.epochs[0].lanes[1], (T, set(&[(4, 4)])));
    desk.publish(publish(OLD, plain(&[1, 2]), Vec::new()));
    let step = desk.done();
    assert_eq!(kinds(&step), [EntryKind::Telemetry, EntryKind::Telemetry, EntryKind::GapWithdrawn]);
    assert_eq!(desk.acked(), [set(&[(1, 2), (4, 4)])]);
    // The agent has lost one of them meanwhile: now it is settled, and told no second time.
    desk.publish(publish(OLD, Vec::new(), vec![lost(OLD, 3, 3)]));
    assert_eq!(kinds(&desk.done()), []);
    assert_eq!(desk.acked().last(), Some(&set(&[(1, 4)])));
}

#[test]
fn two_holders_of_one_identity_raise_an_alarm() {
    let mut desk = Desk::new(Ledger::new());
    desk.hello(vec![held(CURRENT, &[(1, 5)])], Vec::new());
    desk.done();
    let ledger = desk.ledger.clone();
    let mut copied = Desk::new(ledger.clone());
    copied.hello(vec![held(CURRENT, &[(1, 4)])], Vec::new());
    assert!(copied.others.contains(&Action::Alarm(Alarm::AgentTwice)), "numbers would be given twice");
    assert_eq!(copied.closed(), Some(CloseCode::AgentTwice));
    let mut refused = Desk::new(ledger);
    refused.feed(1, Input::Superseded);
    assert_eq!(refused.closed(), Some(CloseCode::AgentTwice));
}

#[test]
fn the_shadow_takes_the_newest_of_each_metric_and_nothing_of_the_past() {
    let mut desk = Desk::new(Ledger::new());
    desk.hello(vec![held(CURRENT, &[])], Vec::new());
    let readings = vec![reading("level", 1), reading("flow", 2), reading("level", 3)];
    let records = vec![record(1, readings.clone(), false), record(2, readings, true)];
    desk.publish(publish(CURRENT, records, Vec::new()));
    let step = desk.done();
    let newest = [reading("level", 3), reading("flow", 2)].map(ShadowUpdate::Metric);
    assert_eq!(step.entries[0].shadow, newest);
    assert_eq!(step.entries[1].shadow, []);
    assert_eq!(step.entries[0].origin.as_ref().unwrap().epoch_order, desk.ledger.order(CURRENT).unwrap());
}

#[test]
fn who_says_nothing_or_another_name_or_site_is_sent_away() {
    let mut silent = Desk::new(Ledger::new());
    silent.feed(20_000, Input::TimerFired);
    assert_eq!(silent.closed(), Some(CloseCode::IdleTimeout));
    let mut other = Desk::new(Ledger::new());
    let (agent, epochs) = (AgentName::new("edge-2").unwrap(), vec![held(CURRENT, &[])]);
    let (build, capabilities, gaps) = (String::new(), Vec::new(), Vec::new());
    let hello = Hello { agent, site: None, epochs, clock: None, build, capabilities, gaps, journal: None };
    other.feed(1, Input::Frame(AgentFrame::Hello(hello.clone())));
    assert_eq!(other.closed(), Some(CloseCode::Unauthorized));
    let mut elsewhere = Desk::new(Ledger::new());
    let (agent, site) = (AgentName::new("edge-1").unwrap(), Some(Site::new("plant-9").unwrap()));
    elsewhere.feed(1, Input::Frame(AgentFrame::Hello(Hello { agent, site, ..hello })));
    assert_eq!(elsewhere.closed(), Some(CloseCode::Unauthorized));
}

#[test]
fn an_unreachable_backbone_is_asked_again_less_and_less_often() {
    let mut desk = Desk::new(Ledger::new());
    let (agent, epochs) = (AgentName::new("edge-1").unwrap(), vec![held(CURRENT, &[])]);
    let (build, capabilities, gaps) = (String::new(), Vec::new(), Vec::new());
    let hello = Hello { agent, site: None, epochs, clock: None, build, capabilities, gaps, journal: None };
    desk.feed(0, Input::Frame(AgentFrame::Hello(hello)));
    for _ in 0..8 {
        desk.feed(0, Input::OpenUnknown);
        desk.feed(0, Input::TimerFired);
    }
    let waits: Vec<u128> = desk
        .others
        .iter()
        .filter_map(|action| if let Action::ArmTimer(at) = action { Some(at.0.as_millis()) } else { None })
        .collect();
    assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    let opens = desk.others.iter().filter(|action| matches!(action, Action::OpenSession { .. })).count();
    assert_eq!(opens, 9);
}

/// One lost number each, for another reason than their neighbours': each becomes an entry of its own.
fn single_gaps(from: u64, count: u64) -> Vec<Gap> {
    let gap = |seq: u64| {
        let reason = if seq.is_multiple_of(2) { GapReason::Power } else { GapReason::Corrupt };
        Gap { reason, ..lost(CURRENT, seq, seq) }
    };
    (from..from + count).map(gap).collect()
}

#[test]
fn gaps_are_paid_for_like_records() {
    let mut desk = Desk::new(Ledger::new());
    desk.hello(vec![held(CURRENT, &[])], Vec::new());
    let each = PUBLISH_GAPS_MAX as u64;
    let limits = LinkLimits::default();
    let most = (limits.window_records + PUBLISH_RECORDS_MAX as u64) / each;
    for at in 0..most {
        desk.publish(publish(CURRENT, Vec::new(), single_gaps(1 + at * each, each)));
    }
    assert_eq!(desk.closed(), None);
    desk.publish(publish(CURRENT, Vec::new(), single_gaps(1 + most * each, each)));
    assert_eq!(desk.closed(), Some(CloseCode::BadFrame));
    assert!(
        desk.others.iter().any(|action| matches!(action, Action::Close { why, .. } if why.contains("gaps in flight")))
    );
}

#[test]
fn one_step_takes_up_no_more_than_its_share_and_the_next_ones_the_rest() {
    let mut desk = Desk::new(Ledger::new());
    desk.hello(vec![held(CURRENT, &[])], Vec::new());
    let each = PUBLISH_GAPS_MAX as u64;
    for at in 0..24 {
        desk.publish(publish(CURRENT, Vec::new(), single_gaps(1 + at * each, each)));
    }
    let mut told = 0;
    while !desk.steps.is_empty() {
        let entries = desk.done().entries.len();
        assert!(entries < STEP_ENTRIES_TARGET + PUBLISH_GAPS_MAX, "{entries} entries in one step");
        told += entries as u64;
    }
    assert_eq!(told, 24 * each);
    assert_eq!(desk.acked().last(), Some(&set(&[(1, 24 * each)])));
    // All of it is paid back: the whole credit is there again.
    for at in 24..48 {
        desk.publish(publish(CURRENT, Vec::new(), single_gaps(1 + at * each, each)));
    }
    assert_eq!(desk.closed(), None);
}

#[test]
fn the_welcome_waits_for_the_step_and_for_what_was_heard_of_the_journal() {
    let journal = JournalMark { id: JournalId(1), boot: BootId(1), length: 4, forgotten: 0 };
    let heard = JournalHeard { through: 3, put_back: false };
    for step_first in [true, false] {
        let mut desk = Desk::new(Ledger::new());
        desk.hello_with(vec![held(CURRENT, &[(1, 1)])], Vec::new(), Some(journal));
        assert!(desk.others.contains(&Action::OpenJournal(journal)), "{:?}", desk.others);
        let mut answers = vec![Input::JournalHeard(heard)];
        answers.extend(desk.steps.last().map(|_| Input::StepDone));
        if step_first {
            answers.reverse();
        }
        for answer in answers {
            assert_eq!(desk.sent, [], "it would lack something");
            desk.feed(3, answer);
        }
        let [GatewayFrame::Welcome(welcome)] = &desk.sent[..] else { panic!("{:?}", desk.sent) };
        assert_eq!(welcome.journal_heard, Some(heard));
    }
    // A record that comes before is out of turn.
    let mut desk = Desk::new(Ledger::new());
    desk.hello_with(vec![held(CURRENT, &[])], Vec::new(), Some(journal));
    desk.feed(3, Input::Frame(AgentFrame::Publish(publish(CURRENT, plain(&[1]), Vec::new()))));
    assert!(desk.session.is_closed());
}
