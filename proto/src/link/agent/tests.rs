//! The agent's end, input by input: order, credit, backlog, and what becomes a gap.

use super::*;
use crate::gap::{GapReason, TimeSpan};
use crate::limits::{EPOCHS_HELD_MAX, READ_RETRY, SETTLED_RANGES_MAX, TIME_INTERVAL};
use crate::link::frame::{Ack, EpochSettled, GoAway, LaneHeld, LinkLimits, Publish, Reject, Welcome};

const CURRENT: Epoch = Epoch(9);
const T: Lane = Lane::Telemetry;

fn range(first: u64, last: u64) -> SeqRange {
    SeqRange::new(Seq::new(first), Seq::new(last)).unwrap()
}

fn set(ranges: &[(u64, u64)]) -> RangeSet {
    ranges.iter().map(|(first, last)| range(*first, *last)).collect()
}

/// Telemetry of one epoch, all of it held.
fn held(epoch: Epoch, last: u64) -> EpochHeld {
    let held = if last == 0 { RangeSet::new() } else { set(&[(1, last)]) };
    EpochHeld { epoch, lanes: [LaneHeld::default(), LaneHeld { held, last: Seq::new(last) }] }
}

fn settled(epoch: Epoch, ranges: &[(u64, u64)]) -> EpochSettled {
    EpochSettled { epoch, lanes: vec![(T, set(ranges))] }
}

/// The shell, the queue and the gateway of one link.
struct Desk {
    link: AgentLink,
    now: MonoTime,
    record_bytes: usize,
    horizon: Option<UnixMicros>,
    taken_at: Option<UnixMicros>,
    limits: LinkLimits,
    reads: Vec<(ReadId, Epoch, Lane, SeqRange, usize)>,
    sent: Vec<Publish>,
    others: Vec<Action>,
}

impl Desk {
    fn new() -> Desk {
        let config = AgentConfig {
            agent: AgentName::new("edge-1").unwrap(),
            site: Site::new("plant").unwrap(),
            build: String::new(),
        };
        Desk {
            link: AgentLink::new(config),
            now: MonoTime(Duration::from_secs(100)),
            record_bytes: 10,
            horizon: None,
            taken_at: Some(UnixMicros(1_000)),
            limits: LinkLimits::default(),
            reads: Vec::new(),
            sent: Vec::new(),
            others: Vec::new(),
        }
    }

    fn feed(&mut self, input: Input) {
        let mut actions = Vec::new();
        self.link.handle(self.now, input, &mut actions);
        for action in actions {
            match action {
                Action::Read { request, epoch, lane, range, bytes_max } => {
                    self.reads.push((request, epoch, lane, range, bytes_max));
                }
                Action::Send(AgentFrame::Publish(publish)) => self.sent.push(publish),
                other => self.others.push(other),
            }
        }
    }

    fn connect(&mut self, epochs: Vec<EpochHeld>, gaps: Vec<Gap>, told: Vec<EpochSettled>) {
        self.reads.clear();
        self.feed(Input::Connected { holdings: Holdings { epochs, gaps }, clock: None, journal: None });
        self.feed(Input::Frame(GatewayFrame::Welcome(Welcome {
            session: crate::ids::SessionId(1),
            epochs: told,
            retention_horizon: self.horizon,
            server_time: UnixMicros(5),
            limits: self.limits,
            journal_heard: None,
        })));
    }

    fn append(&mut self, last: u64) {
        self.feed(Input::Appended { lane: T, seq: Seq::new(last) });
    }

    fn ack(&mut self, epoch: Epoch, ranges: &[(u64, u64)]) {
        self.feed(Input::Frame(GatewayFrame::Ack(Ack { epochs: vec![settled(epoch, ranges)], ..Ack::default() })));
    }

    fn wait(&mut self, span: Duration) {
        self.now = self.now + span;
        self.feed(Input::TimerFired);
    }

    /// Answers the oldest `Read` with all that fits; gives back what was asked for.
    fn answer(&mut self) -> (Epoch, SeqRange) {
        let (request, epoch, _, range, bytes_max) = self.reads.remove(0);
        let count = (bytes_max / self.record_bytes).max(1) as u64;
        let last = range.last().get().min(range.first().get() + count - 1);
        let bytes = self.record_bytes;
        let taken_at = self.taken_at;
        let record = |seq| ReadRecord { seq: Seq::new(seq), taken_at, record: vec![0; bytes].into() };
        let records = (range.first().get()..=last).map(record).collect();
        self.feed(Input::Records { request, records, missing: RangeSet::new() });
        (epoch, range)
    }

    fn asked(&self) -> Vec<(Epoch, SeqRange)> {
        self.reads.iter().map(|read| (read.1, read.3)).collect()
    }

    fn told_gaps(&self) -> Vec<(Epoch, SeqRange, GapReason)> {
        let gaps = self.sent.iter().flat_map(|publish| &publish.gaps);
        gaps.map(|gap| (gap.epoch, gap.range, gap.reason)).collect()
    }

    fn closed(&self) -> Option<CloseCode> {
        self.others.iter().find_map(|action| if let Action::Close { code, .. } = action { Some(*code) } else { None })
    }
}

#[test]
fn live_goes_first_and_the_oldest_backlog_beside_it() {
    let mut desk = Desk::new();
    desk.connect(vec![held(Epoch(7), 3), held(Epoch(8), 2), held(CURRENT, 4)], Vec::new(), Vec::new());
    assert_eq!(desk.asked(), [(Epoch(7), range(1, 3))]);
    desk.append(6);
    assert_eq!(desk.asked(), [(Epoch(7), range(1, 3)), (CURRENT, range(5, 6))]);
    desk.answer();
    desk.answer();
    desk.append(7);
    // The newest reading does not wait for the backlog that is asked for already.
    assert_eq!(desk.asked(), [(Epoch(8), range(1, 2)), (CURRENT, range(7, 7))]);
    desk.answer();
    assert_eq!(desk.asked(), [(CURRENT, range(7, 7)), (CURRENT, range(1, 4))]);
    assert_eq!(desk.sent.iter().map(|publish| publish.backlog).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn an_event_goes_before_readings() {
    let mut desk = Desk::new();
    desk.connect(vec![held(CURRENT, 0)], Vec::new(), Vec::new());
    desk.append(2);
    desk.answer();
    desk.feed(Input::Appended { lane: Lane::Events, seq: Seq::new(1) });
    desk.append(3);
    assert_eq!(desk.reads.iter().map(|read| read.2).collect::<Vec<_>>(), [Lane::Events, T]);
}

/// Lets a backlog run over a link of so many bytes a second for half a minute; what is in the link's
/// buffer, in milliseconds of sending, and how much of the link was used, in percent, both after a
/// while of getting to know it.
fn backlog_over(bytes_per_second: u64, round_trip_millis: u64) -> (u64, u64) {
    let mut desk = Desk::new();
    desk.record_bytes = 1024;
    desk.connect(vec![held(Epoch(7), 1_000_000), held(CURRENT, 0)], Vec::new(), Vec::new());
    let (mut free_at, mut acks, mut taken, mut through) = (0u64, std::collections::VecDeque::new(), 0, 0u64);
    let (mut late_max, mut used) = (0, 0);
    for millis in 0..30_000u64 {
        desk.now = desk.now + Duration::from_millis(1);
        if millis == round_trip_millis {
            desk.feed(Input::Frame(GatewayFrame::Pong { id: 1, server_time: UnixMicros(0) }));
        }
        while !desk.reads.is_empty() {
            desk.answer();
        }
        for publish in &desk.sent[taken..] {
            through += publish.records.len() as u64;
            let sending = publish.records.len() as u64 * 1024 * 1_000 / bytes_per_second;
            free_at = free_at.max(millis) + sending;
            acks.push_back((free_at + round_trip_millis, through));
            used += if millis >= 10_000 { sending } else { 0 };
        }
        taken = desk.sent.len();
        if millis >= 10_000 {
            late_max = late_max.max(free_at.saturating_sub(millis));
        }
        while let Some((_, through)) = acks.pop_front_if(|(at, _)| *at <= millis) {
            desk.ack(Epoch(7), &[(1, through)]);
        }
    }
    (late_max, used * 100 / 20_000)
}

#[test]
fn the_backlog_fills_the_link_and_never_holds_up_what_is_live() {
    for (bytes_per_second, round_trip_millis, used_min) in [
        (2_000, 300, 60),
        (10_000, 600, 55),
        (50_000, 100, 80),
        (1_000_000, 40, 90),
        (1_000_000, 700, 7),
        (4_000_000, 20, 80),
    ] {
        let (late, used) = backlog_over(bytes_per_second, round_trip_millis);
        let link = format!("{bytes_per_second} bytes/s, {round_trip_millis} ms: {late} ms late, {used} % used");
        assert!(late <= 1_100, "{link}");
        assert!(used >= used_min, "{link}");
    }
}

#[test]
fn backlog_leaves_credit_for_what_is_live() {
    let mut desk = Desk::new();
    desk.record_bytes = 1024;
    desk.limits.window_bytes = 40 * 1024;
    desk.connect(vec![held(Epoch(7), 10_000), held(CURRENT, 0)], Vec::new(), Vec::new());
    for _ in 0..20 {
        while !desk.reads.is_empty() {
            desk.answer();
        }
        let in_flight: Vec<u64> = desk.sent.iter().map(|publish| publish.records.len() as u64).collect();
        let done: u64 = desk.sent.first().map_or(0, |publish| publish.records[0].seq.get() - 1);
        assert!(in_flight.iter().sum::<u64>() <= 31, "{in_flight:?} KiB in flight");
        desk.sent.remove(0);
        desk.ack(Epoch(7), &[(1, done + in_flight[0])]);
    }
    desk.append(1);
    assert!(desk.asked().contains(&(CURRENT, range(1, 1))), "{:?}", desk.asked());
}

#[test]
fn the_settled_set_never_has_more_ranges_than_can_be_told() {
    let mut desk = Desk::new();
    let mut stored = RangeSet::new();
    let mut last = 0;
    for connection in 0..2 * SETTLED_RANGES_MAX {
        // One reading while there was no link, one since: the older is never read.
        last += 1;
        let told = EpochSettled { epoch: CURRENT, lanes: vec![(T, stored.clone())] };
        desk.connect(vec![held(CURRENT, last)], Vec::new(), vec![told]);
        last += 1;
        desk.append(last);
        let live = desk.reads.iter().position(|read| read.3.first() == Seq::new(last));
        if let Some(at) = live {
            let read = desk.reads.remove(at);
            desk.reads.insert(0, read);
            desk.answer();
            stored.insert_one(Seq::new(last));
        }
        assert_eq!(live.is_some(), connection < SETTLED_RANGES_MAX, "connection {connection}");
        desk.feed(Input::LinkLost);
    }
    assert_eq!(stored.ranges().len(), SETTLED_RANGES_MAX);
    let told = EpochSettled { epoch: CURRENT, lanes: vec![(T, stored.clone())] };
    desk.connect(vec![held(CURRENT, last)], Vec::new(), vec![told]);
    while !desk.reads.is_empty() {
        let (_, asked) = desk.answer();
        stored.insert(asked);
        assert!(stored.ranges().len() <= SETTLED_RANGES_MAX);
        let told =
            Ack { epochs: vec![EpochSettled { epoch: CURRENT, lanes: vec![(T, stored.clone())] }], ..Ack::default() };
        desk.feed(Input::Frame(GatewayFrame::Ack(told)));
    }
    assert_eq!(stored, set(&[(1, last)]));
}

#[test]
fn a_record_that_is_too_large_is_given_up_once() {
    let mut desk = Desk::new();
    desk.limits.record_bytes_max = 20;
    desk.record_bytes = 21;
    desk.connect(vec![held(CURRENT, 0)], Vec::new(), Vec::new());
    desk.append(1);
    desk.answer();
    assert_eq!(desk.told_gaps(), [(CURRENT, range(1, 1), GapReason::Rejected)]);
    assert!(desk.others.iter().any(|action| matches!(action, Action::DeadLetter { seq, .. } if seq.get() == 1)));
    assert!(desk.others.iter().any(|action| matches!(action, Action::Gap(gap) if gap.reason == GapReason::Rejected)));
    desk.ack(CURRENT, &[(1, 1)]);
    assert_eq!(desk.asked(), []);
}

#[test]
fn no_frame_passes_the_bound_of_a_message() {
    let mut desk = Desk::new();
    desk.limits.message_bytes_max = 2_000;
    desk.record_bytes = 500;
    desk.connect(vec![held(CURRENT, 9)], Vec::new(), Vec::new());
    desk.answer();
    assert!(desk.sent.len() > 2);
    for publish in &desk.sent {
        let bytes = crate::convert::encode_agent_frame(&AgentFrame::Publish(publish.clone()));
        assert!(bytes.len() <= 2_000, "{} bytes", bytes.len());
    }
}

#[test]
fn what_the_queue_no_longer_has_is_told_as_a_gap() {
    let mut desk = Desk::new();
    let mut holey = held(Epoch(7), 9);
    holey.lanes[T.index()].held = set(&[(1, 2), (5, 9)]);
    let power = Gap {
        epoch: Epoch(7),
        lane: T,
        range: range(10, u64::MAX),
        reason: GapReason::Power,
        span: TimeSpan::default(),
    };
    desk.connect(vec![holey, held(CURRENT, 0)], vec![power], Vec::new());
    let (request, ..) = desk.reads.remove(0);
    desk.feed(Input::Records { request, records: Vec::new(), missing: set(&[(1, 1)]) });
    assert_eq!(
        desk.told_gaps(),
        [(Epoch(7), range(3, 4), GapReason::Evicted), (Epoch(7), range(10, u64::MAX), GapReason::Power)]
    );
    desk.ack(Epoch(7), &[(3, 4), (10, u64::MAX)]);
    assert_eq!(desk.told_gaps()[2..], [(Epoch(7), range(1, 1), GapReason::Evicted)]);
}

#[test]
fn gaps_are_told_within_the_credit_and_one_always_is() {
    let mut desk = Desk::new();
    desk.limits.window_records = 3;
    let mut holey = held(Epoch(7), 9);
    holey.lanes[T.index()].held = set(&[(2, 2), (4, 4), (6, 6), (8, 8)]);
    desk.connect(vec![holey.clone(), held(CURRENT, 0)], Vec::new(), Vec::new());
    let evicted = |seq| (Epoch(7), range(seq, seq), GapReason::Evicted);
    assert_eq!(desk.told_gaps(), [evicted(1), evicted(3), evicted(5)]);
    assert_eq!(desk.asked(), [], "nothing else fits");
    desk.ack(Epoch(7), &[(1, 1), (3, 3), (5, 5)]);
    assert_eq!(desk.told_gaps()[3..], [evicted(7), evicted(9)]);
    let mut narrow = Desk::new();
    narrow.limits.window_bytes = 1;
    narrow.connect(vec![holey, held(CURRENT, 0)], Vec::new(), Vec::new());
    assert_eq!(narrow.told_gaps(), [evicted(1)]);
}

#[test]
fn what_nobody_wants_any_more_is_told_as_aged() {
    let mut desk = Desk::new();
    desk.horizon = Some(UnixMicros(1_001));
    desk.connect(vec![held(CURRENT, 3)], Vec::new(), Vec::new());
    desk.answer();
    assert_eq!(desk.told_gaps(), [(CURRENT, range(1, 3), GapReason::Aged)]);
}

#[test]
fn what_was_taken_nobody_knows_when_is_never_aged() {
    let mut desk = Desk::new();
    desk.horizon = Some(UnixMicros(i64::MAX));
    desk.taken_at = None;
    desk.connect(vec![held(CURRENT, 3)], Vec::new(), Vec::new());
    desk.answer();
    assert_eq!(desk.told_gaps(), []);
    assert_eq!(desk.sent.iter().map(|publish| publish.records.len()).sum::<usize>(), 3);
}

#[test]
fn a_store_that_went_back_gets_again_what_is_still_held() {
    let mut desk = Desk::new();
    desk.connect(vec![held(CURRENT, 6)], Vec::new(), Vec::new());
    desk.answer();
    desk.ack(CURRENT, &[(1, 6)]);
    desk.feed(Input::LinkLost);
    desk.connect(vec![held(CURRENT, 6)], Vec::new(), vec![settled(CURRENT, &[(1, 2)])]);
    assert_eq!(desk.asked(), [(CURRENT, range(3, 6))]);
    let told = Action::Settled { epoch: CURRENT, lane: T, set: set(&[(1, 2)]) };
    assert_eq!(desk.others.iter().rev().find(|action| matches!(action, Action::Settled { lane: T, .. })), Some(&told));
}

#[test]
fn an_answer_for_what_was_never_sent_ends_the_connection() {
    for lie in [&[(1, 4)][..], &[(1, u64::MAX)]] {
        let mut desk = Desk::new();
        desk.connect(vec![held(CURRENT, 3)], Vec::new(), Vec::new());
        desk.answer();
        desk.ack(CURRENT, lie);
        assert_eq!(desk.closed(), Some(CloseCode::BadFrame));
    }
    let mut desk = Desk::new();
    desk.connect(vec![held(CURRENT, 3)], Vec::new(), vec![settled(CURRENT, &[(1, 4)])]);
    assert_eq!(desk.closed(), Some(CloseCode::BadFrame));
}

#[test]
fn a_gateway_that_asks_to_wait_gets_nothing_until_then() {
    let mut desk = Desk::new();
    desk.connect(vec![held(CURRENT, 0)], Vec::new(), Vec::new());
    let ack = Ack { retry_after: Some(Duration::from_secs(3)), ..Ack::default() };
    desk.feed(Input::Frame(GatewayFrame::Ack(ack)));
    desk.append(1);
    assert_eq!(desk.asked(), []);
    assert!(desk.others.contains(&Action::ArmTimer(desk.now + Duration::from_secs(3))));
    desk.wait(Duration::from_secs(3));
    assert_eq!(desk.asked(), [(CURRENT, range(1, 1))]);
}

#[test]
fn records_without_a_time_are_asked_for_again_and_hold_up_nothing_else() {
    let mut desk = Desk::new();
    desk.connect(vec![held(Epoch(7), 2), held(CURRENT, 2)], Vec::new(), Vec::new());
    let (request, ..) = desk.reads.remove(0);
    desk.feed(Input::Records { request, records: Vec::new(), missing: RangeSet::new() });
    assert_eq!(desk.asked(), [(CURRENT, range(1, 2))]);
    desk.answer();
    desk.wait(READ_RETRY);
    desk.ack(CURRENT, &[(1, 2)]);
    assert_eq!(desk.asked(), [(Epoch(7), range(1, 2))]);
}

#[test]
fn a_record_appended_while_the_queue_was_asked_is_not_taken_for_lost() {
    let mut desk = Desk::new();
    desk.connect(vec![held(CURRENT, 0)], Vec::new(), Vec::new());
    desk.append(2);
    desk.feed(Input::QueueChanged { holdings: Holdings { epochs: vec![held(CURRENT, 1)], gaps: Vec::new() } });
    assert_eq!(desk.told_gaps(), []);
    assert_eq!(desk.asked(), [(CURRENT, range(1, 2))]);
}

#[test]
fn asked_to_leave_it_waits_for_what_is_in_flight() {
    let mut desk = Desk::new();
    desk.connect(vec![held(CURRENT, 2)], Vec::new(), Vec::new());
    desk.answer();
    let go_away = GoAway { reason: "drain".to_owned(), reconnect_after: Duration::from_secs(1), gateways: Vec::new() };
    desk.feed(Input::Frame(GatewayFrame::GoAway(go_away)));
    desk.append(3);
    assert_eq!((desk.closed(), desk.asked()), (None, Vec::new()));
    desk.ack(CURRENT, &[(1, 2)]);
    assert_eq!(desk.closed(), Some(CloseCode::ShuttingDown));
}

#[test]
fn a_stopping_agent_sends_what_is_new_and_closes() {
    let mut desk = Desk::new();
    desk.connect(vec![held(Epoch(7), 5), held(CURRENT, 0)], Vec::new(), Vec::new());
    desk.answer();
    desk.append(1);
    desk.feed(Input::DrainRequested);
    desk.answer();
    desk.ack(Epoch(7), &[(1, 5)]);
    assert_eq!(desk.closed(), None);
    desk.ack(CURRENT, &[(1, 1)]);
    assert_eq!(desk.closed(), Some(CloseCode::ShuttingDown));
}

#[test]
fn a_rejected_record_becomes_a_dead_letter() {
    let mut desk = Desk::new();
    desk.connect(vec![held(CURRENT, 1)], Vec::new(), Vec::new());
    desk.answer();
    let reject = Reject { epoch: CURRENT, lane: T, seq: Seq::new(1), reason: "no".to_owned() };
    desk.feed(Input::Frame(GatewayFrame::Reject(reject)));
    let letter = Action::DeadLetter { epoch: CURRENT, lane: T, seq: Seq::new(1), reason: "no".to_owned() };
    assert!(desk.others.contains(&letter));
}

#[test]
fn more_epochs_than_a_hello_names_come_one_hello_after_the_other() {
    let mut desk = Desk::new();
    let count = EPOCHS_HELD_MAX as u64 + 10;
    let all: Vec<EpochHeld> = (1..=count).map(|epoch| held(Epoch(epoch), 1)).collect();
    let told: Vec<EpochSettled> = (1..count).map(|epoch| settled(Epoch(epoch), &[(1, 1)])).collect();
    desk.connect(all.clone(), Vec::new(), told[..EPOCHS_HELD_MAX].to_vec());
    while !desk.reads.is_empty() {
        let (epoch, _) = desk.answer();
        desk.ack(epoch, &[(1, 1)]);
    }
    assert_eq!(desk.closed(), Some(CloseCode::HelloAgain));
    desk.others.clear();
    desk.connect(all, Vec::new(), Vec::new());
    let hello = desk
        .others
        .iter()
        .find_map(|action| if let Action::Send(AgentFrame::Hello(hello)) = action { Some(hello) } else { None });
    let named: Vec<Epoch> = hello.unwrap().epochs.iter().map(|held| held.epoch).collect();
    assert_eq!(named.len(), EPOCHS_HELD_MAX);
    assert!((count - 10..=count).all(|epoch| named.contains(&Epoch(epoch))));
}

#[test]
fn the_gateways_time_is_asked_for_again_and_again() {
    let mut desk = Desk::new();
    desk.connect(vec![held(CURRENT, 0)], Vec::new(), Vec::new());
    desk.wait(TIME_INTERVAL);
    let pings: Vec<u64> = desk
        .others
        .iter()
        .filter_map(|action| if let Action::Send(AgentFrame::Ping { id }) = action { Some(*id) } else { None })
        .collect();
    assert_eq!(pings, [1, 2]);
    let asked = desk.now;
    desk.now = desk.now + Duration::from_millis(40);
    for id in pings {
        desk.feed(Input::Frame(GatewayFrame::Pong { id, server_time: UnixMicros(7) }));
    }
    let times = desk.others.iter().filter(|action| matches!(action, Action::ServerTime { .. }));
    let expected = Action::ServerTime { asked, answered: desk.now, server: UnixMicros(7) };
    assert_eq!(times.collect::<Vec<_>>()[1..], [&expected]);
}
