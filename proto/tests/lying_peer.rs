//! No message of a peer, and no bytes, make either end of the edge link panic or believe what can't be.

use std::time::Duration;

use bytes::Bytes;
use lockgate_proto::convert::{
    decode_agent_frame, decode_entry, decode_gateway_frame, decode_record, encode_agent_frame, encode_gateway_frame,
};
use lockgate_proto::gap::{Gap, GapReason, TimeSpan};
use lockgate_proto::ids::{AgentName, SessionId, Site};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::limits::{LEDGER_RANGES_MAX, SETTLED_RANGES_MAX};
use lockgate_proto::link::agent::{self, AgentConfig, AgentLink, Holdings, ReadRecord};
use lockgate_proto::link::close::CloseCode;
use lockgate_proto::link::frame::{
    Ack, AgentFrame, EpochHeld, EpochSettled, GatewayFrame, GoAway, Hello, LaneHeld, LinkLimits, Publish, Reject,
    SequencedRecord, Welcome,
};
use lockgate_proto::link::gateway::{self, EdgeConfig, EdgeSession, Now};
use lockgate_proto::ranges::{RangeSet, SeqRange};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::{MonoTime, UnixMicros};
use proptest::prelude::*;

fn any_seq() -> impl Strategy<Value = Seq> {
    prop_oneof![8 => 0u64..30, 1 => Just(u64::MAX), 1 => Just(u64::MAX - 1), 1 => any::<u64>()].prop_map(Seq::new)
}

fn any_range() -> impl Strategy<Value = SeqRange> {
    (any_seq(), any_seq()).prop_filter_map("not upside down", |(first, last)| SeqRange::new(first, last))
}

fn any_set() -> impl Strategy<Value = RangeSet> {
    prop::collection::vec(any_range(), 0..4).prop_map(|ranges| ranges.into_iter().collect())
}

fn any_lane() -> impl Strategy<Value = Lane> {
    prop_oneof![Just(Lane::Events), Just(Lane::Telemetry)]
}

fn any_epoch() -> impl Strategy<Value = Epoch> {
    (0u64..5).prop_map(Epoch)
}

fn any_gap() -> impl Strategy<Value = Gap> {
    (any_epoch(), any_lane(), any_range(), 0usize..6, any::<i64>()).prop_map(|(epoch, lane, range, reason, at)| Gap {
        epoch,
        lane,
        range,
        reason: GapReason::ALL[reason],
        span: TimeSpan::at(UnixMicros(at)),
    })
}

fn any_limits() -> impl Strategy<Value = LinkLimits> {
    (1usize..2_000, 1usize..2_000, any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
        |(message_bytes_max, record_bytes_max, window_bytes, window_records, ping)| LinkLimits {
            message_bytes_max,
            record_bytes_max,
            window_bytes,
            window_records,
            ping_interval: Duration::from_millis(ping.into()),
        },
    )
}

fn any_held() -> impl Strategy<Value = EpochHeld> {
    let lane = || (any_set(), any_seq()).prop_map(|(held, last)| LaneHeld { held, last });
    (any_epoch(), lane(), lane()).prop_map(|(epoch, events, telemetry)| EpochHeld { epoch, lanes: [events, telemetry] })
}

fn any_settled() -> impl Strategy<Value = EpochSettled> {
    (any_epoch(), prop::collection::vec((any_lane(), any_set()), 0..3))
        .prop_map(|(epoch, lanes)| EpochSettled { epoch, lanes })
}

fn any_agent_frame() -> impl Strategy<Value = AgentFrame> {
    let record = (any_seq(), prop::collection::vec(any::<u8>(), 0..20))
        .prop_map(|(seq, bytes)| SequencedRecord { seq, record: bytes.into() });
    let hello = (prop::collection::vec(any_held(), 1..4), prop::collection::vec(any_gap(), 0..3));
    let publish = (
        any_epoch(),
        any_lane(),
        prop::collection::vec(record, 0..4),
        any_seq(),
        prop::collection::vec(any_gap(), 0..3),
    );
    prop_oneof![
        1 => hello.prop_map(|(epochs, gaps)| AgentFrame::Hello(Hello {
            agent: name(),
            site: Some(site()),
            epochs,
            clock: None,
            build: String::new(),
            capabilities: Vec::new(),
            gaps,
            journal: None,
        })),
        4 => publish.prop_map(|(epoch, lane, records, last, gaps)| AgentFrame::Publish(Publish {
            epoch,
            lane,
            records,
            backlog: false,
            gaps,
            last,
        })),
        1 => any::<u64>().prop_map(|id| AgentFrame::Ping { id }),
    ]
}

fn any_gateway_frame() -> impl Strategy<Value = GatewayFrame> {
    let epochs = || prop::collection::vec(any_settled(), 0..4);
    prop_oneof![
        2 => (epochs(), any::<Option<i64>>(), any_limits()).prop_map(|(epochs, horizon, limits)| {
            GatewayFrame::Welcome(Welcome {
                session: SessionId(1),
                epochs,
                retention_horizon: horizon.map(UnixMicros),
                server_time: UnixMicros(horizon.unwrap_or(0)),
                limits,
                journal_heard: None,
            })
        }),
        4 => (epochs(), prop::option::of(any_limits()), any::<Option<u32>>()).prop_map(|(epochs, limits, retry)| {
            let retry_after = retry.map(|millis| Duration::from_millis(millis.into()));
            GatewayFrame::Ack(Ack { epochs, limits, retry_after })
        }),
        1 => (any_epoch(), any_lane(), any_seq()).prop_map(|(epoch, lane, seq)| {
            GatewayFrame::Reject(Reject { epoch, lane, seq, reason: "no".to_owned() })
        }),
        1 => any::<(u64, i64)>().prop_map(|(id, time)| GatewayFrame::Pong { id, server_time: UnixMicros(time) }),
        1 => any::<u32>().prop_map(|millis| GatewayFrame::GoAway(GoAway {
            reason: String::new(),
            reconnect_after: Duration::from_millis(millis.into()),
            gateways: Vec::new(),
        })),
    ]
}

fn site() -> Site {
    Site::new("plant").expect("it is a name")
}

fn name() -> AgentName {
    AgentName::new("edge-1").expect("it is a name")
}

fn session() -> EdgeSession {
    let config = EdgeConfig {
        agent: name(),
        site: site(),
        session: SessionId(1),
        retention: None,
        limits: LinkLimits::default(),
    };
    EdgeSession::new(config, now(0), &mut Vec::new())
}

fn now(millis: u64) -> Now {
    let mono = MonoTime(Duration::from_millis(millis));
    Now { mono, wall: UnixMicros(1_700_000_000_000_000).offset_by(mono.micros()) }
}

fn link() -> AgentLink {
    AgentLink::new(AgentConfig { agent: name(), site: site(), build: String::new() })
}

/// An agent in its third start that has ten records of each.
fn holdings() -> Holdings {
    let set: RangeSet = SeqRange::new(Seq::FIRST, Seq::new(10)).into_iter().collect();
    let lane = || LaneHeld { held: set.clone(), last: Seq::new(10) };
    let epochs = [1, 2, 3].map(|epoch| EpochHeld { epoch: Epoch(epoch), lanes: [lane(), lane()] });
    Holdings { epochs: epochs.to_vec(), gaps: Vec::new() }
}

/// Feeds frames to a gateway's end whose backbone does what it is asked; the store's sums must hold.
fn feed_gateway(frames: Vec<AgentFrame>) -> Result<(), TestCaseError> {
    let (mut session, mut ledger) = (session(), Ledger::new());
    for (at, frame) in frames.into_iter().enumerate() {
        let mut inputs = vec![gateway::Input::Frame(frame)];
        while let Some(input) = inputs.pop() {
            let mut actions = Vec::new();
            let closed = session.is_closed();
            session.handle(now(at as u64), input, &mut actions);
            prop_assert!(!closed || actions.is_empty(), "said after the end: {:?}", actions);
            for action in actions {
                match action {
                    gateway::Action::OpenSession { session, epochs } => {
                        inputs.push(match ledger.open_session(session, &epochs) {
                            Ok(()) => gateway::Input::Opened(ledger.clone()),
                            Err(_) => gateway::Input::Superseded,
                        });
                    }
                    gateway::Action::Step(step) => {
                        ledger = Ledger::from_bytes(&step.ledger.to_bytes()).expect("it was just written");
                        inputs.push(gateway::Input::StepDone);
                    }
                    gateway::Action::Send(frame) => {
                        let again = decode_gateway_frame(encode_gateway_frame(&frame));
                        prop_assert!(matches!(again, Ok(Some(_))), "sends what nobody can read: {:?}", again);
                    }
                    gateway::Action::Close { .. }
                    | gateway::Action::ArmTimer(_)
                    | gateway::Action::Alarm(_)
                    // The agent has no journal, and no courier is sent.
                    | gateway::Action::OpenJournal(_) => {}
                }
            }
            let totals = ledger.totals();
            prop_assert_eq!(
                totals.produced,
                totals.stored.saturating_add(totals.lost_sum().records).saturating_add(totals.pending)
            );
        }
    }
    Ok(())
}

/// Feeds frames to an agent's end whose queue answers each `Read`.
fn feed_agent(frames: Vec<GatewayFrame>) -> Result<(), TestCaseError> {
    let mut link = link();
    let mut inputs = vec![agent::Input::Connected { holdings: holdings(), clock: None, journal: None }];
    let mut frames = frames.into_iter();
    let mut settled_before_sent = false;
    for at in 0..200 {
        let Some(input) = inputs.pop().or_else(|| frames.next().map(agent::Input::Frame)) else { break };
        let mut actions = Vec::new();
        link.handle(now(at).mono, input, &mut actions);
        for action in actions {
            match action {
                agent::Action::Read { request, range, .. } => {
                    let records = (range.first().get()..=range.last().get().min(10)).map(|seq| ReadRecord {
                        seq: Seq::new(seq),
                        taken_at: Some(UnixMicros(1)),
                        record: Bytes::from_static(b"record"),
                    });
                    let (records, missing) = (records.collect(), RangeSet::new());
                    inputs.push(agent::Input::Records { request, records, missing });
                }
                agent::Action::Send(frame) => {
                    let again = decode_agent_frame(encode_agent_frame(&frame));
                    prop_assert_eq!(again, Ok(Some(frame)));
                }
                // Nothing of the current epoch that does not exist yet may ever count as settled.
                agent::Action::Settled { epoch, set, .. } => {
                    settled_before_sent |= epoch == Epoch(3) && set.last() > Seq::new(10);
                }
                _ => {}
            }
        }
        prop_assert!(!settled_before_sent, "believes what can't be");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_agents_end_survives_every_message(mut frames in prop::collection::vec(any_gateway_frame(), 0..12), welcome: bool) {
        if welcome {
            let (session, server_time, limits) = (SessionId(1), UnixMicros(1), LinkLimits::default());
            let welcome = Welcome { session, epochs: Vec::new(), retention_horizon: None, server_time, limits, journal_heard: None };
            frames.insert(0, GatewayFrame::Welcome(welcome));
        }
        feed_agent(frames)?;
    }

    #[test]
    fn a_gateways_end_survives_every_message(mut frames in prop::collection::vec(any_agent_frame(), 0..12), hello: bool) {
        if hello {
            let (epochs, build, capabilities) = (holdings().epochs, String::new(), Vec::new());
            frames.insert(0, AgentFrame::Hello(Hello { agent: name(), site: None, epochs, clock: None, build, capabilities, gaps: Vec::new(), journal: None }));
        }
        // What a peer sends came through the wire: what convert refuses, no machine sees.
        let frames = frames.iter().filter_map(|frame| decode_agent_frame(encode_agent_frame(frame)).ok().flatten());
        feed_gateway(frames.collect())?;
    }

    #[test]
    fn no_bytes_are_too_bad_to_be_refused(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        let bytes = Bytes::from(bytes);
        let _ = (decode_agent_frame(bytes.clone()).is_ok(), decode_gateway_frame(bytes.clone()).is_ok());
        let _ = (decode_record(bytes.clone()).is_ok(), decode_entry(bytes).is_ok());
    }

    #[test]
    fn damaged_messages_are_refused_or_survived(
        frames in prop::collection::vec((any_agent_frame(), any_gateway_frame(), any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (agent, gateway, at, with) in frames {
            let damage = |bytes: Bytes| {
                let mut bytes = bytes.to_vec();
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] ^= with;
                }
                Bytes::from(bytes)
            };
            up.extend(decode_agent_frame(damage(encode_agent_frame(&agent))).ok().flatten());
            down.extend(decode_gateway_frame(damage(encode_gateway_frame(&gateway))).ok().flatten());
        }
        feed_gateway(up)?;
        feed_agent(down)?;
    }
}

fn closed_with(actions: &[gateway::Action]) -> Option<CloseCode> {
    actions.iter().find_map(|action| if let gateway::Action::Close { code, .. } = action { Some(*code) } else { None })
}

/// A session that has said Welcome to an agent of one epoch.
fn welcomed() -> EdgeSession {
    let (mut session, mut ledger, mut actions) = (session(), Ledger::new(), Vec::new());
    let lanes = [LaneHeld::default(), LaneHeld::default()];
    let epochs = vec![EpochHeld { epoch: Epoch(1), lanes }];
    let (build, capabilities) = (String::new(), Vec::new());
    let hello =
        Hello { agent: name(), site: None, epochs, clock: None, build, capabilities, gaps: Vec::new(), journal: None };
    session.handle(now(0), gateway::Input::Frame(AgentFrame::Hello(hello)), &mut actions);
    ledger.open_session(SessionId(1), &[Epoch(1)]).expect("nobody came before");
    session.handle(now(0), gateway::Input::Opened(ledger), &mut actions);
    assert_eq!(closed_with(&actions), None);
    session
}

fn publish(records: Vec<SequencedRecord>, last: u64) -> Publish {
    Publish { epoch: Epoch(1), lane: Lane::Telemetry, records, backlog: false, gaps: Vec::new(), last: Seq::new(last) }
}

fn check_refused(publish: Publish) {
    let (mut session, mut actions) = (welcomed(), Vec::new());
    session.handle(now(1), gateway::Input::Frame(AgentFrame::Publish(publish)), &mut actions);
    assert_eq!(closed_with(&actions), Some(CloseCode::BadFrame), "{actions:?}");
}

#[test]
fn an_agent_that_sends_for_an_unknown_epoch_is_refused() {
    check_refused(Publish { epoch: Epoch(9), ..publish(Vec::new(), 0) });
}

#[test]
fn a_gap_without_end_in_the_current_epoch_is_refused() {
    let range = SeqRange::new(Seq::FIRST, Seq::MAX).unwrap();
    let gap = Gap { epoch: Epoch(1), lane: Lane::Events, range, reason: GapReason::Power, span: TimeSpan::default() };
    check_refused(Publish { gaps: vec![gap], ..publish(Vec::new(), 0) });
}

#[test]
fn more_holes_than_a_ledger_keeps_are_refused() {
    let holes = LEDGER_RANGES_MAX as u64 + 1;
    let records = (1..=holes).map(|at| SequencedRecord { seq: Seq::new(2 * at), record: Bytes::from_static(b"x") });
    check_refused(publish(records.collect(), 2 * holes));
}

#[test]
fn an_agent_beyond_its_credit_is_refused() {
    let (mut session, mut actions) = (welcomed(), Vec::new());
    let record = Bytes::from(vec![0; 200 * 1024]);
    for seq in 1..=12 {
        let records = vec![SequencedRecord { seq: Seq::new(seq), record: record.clone() }];
        session.handle(now(1), gateway::Input::Frame(AgentFrame::Publish(publish(records, seq))), &mut actions);
    }
    assert_eq!(closed_with(&actions), Some(CloseCode::BadFrame));
}

#[test]
fn messages_beyond_the_bounds_are_refused_by_name() {
    let far =
        (0..=SETTLED_RANGES_MAX as u64).filter_map(|at| SeqRange::one(Seq::new(2 * at + 1))).collect::<RangeSet>();
    let long = decode_gateway_frame(encode_gateway_frame(&GatewayFrame::Ack(Ack {
        epochs: vec![EpochSettled { epoch: Epoch(1), lanes: vec![(Lane::Events, far.clone()); 3] }],
        ..Ack::default()
    })));
    assert_eq!(long.unwrap_err().to_string(), "epochs.lanes has 3 items or bytes; at most 2 are allowed");
    let twice = |records: Vec<SequencedRecord>| {
        decode_agent_frame(encode_agent_frame(&AgentFrame::Publish(publish(records, 5))))
    };
    let record = SequencedRecord { seq: Seq::new(2), record: Bytes::new() };
    let error = twice(vec![record.clone(), record]).unwrap_err();
    assert_eq!(error.to_string(), "records.seq does not ascend, or is above last");
    // A set that is too long is told from its start, and told again as it shrinks.
    let set = decode_gateway_frame(encode_gateway_frame(&GatewayFrame::Ack(Ack {
        epochs: vec![EpochSettled { epoch: Epoch(1), lanes: vec![(Lane::Events, far.clone())] }],
        ..Ack::default()
    })));
    let Ok(Some(GatewayFrame::Ack(ack))) = set else { panic!("{set:?}") };
    assert_eq!(ack.epochs[0].lanes[0].1.ranges(), &far.ranges()[..SETTLED_RANGES_MAX]);
}
