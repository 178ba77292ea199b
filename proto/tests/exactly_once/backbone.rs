//! A backbone that keeps one agent's ledger and the room's log, and can go back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lockgate_proto::convert::{decode_entry, decode_record, encode_entry};
use lockgate_proto::entry::{EntryBody, EntryHeader};
use lockgate_proto::ids::SessionId;
use lockgate_proto::ledger::{Fence, Ledger};
use lockgate_proto::link::frame::GatewayFrame;
use lockgate_proto::link::gateway::{NewEntry, Step};
use lockgate_proto::position::{Offset, Position, Stamp};
use lockgate_proto::ranges::RangeSet;
use lockgate_proto::seq::{Epoch, Lane, Seq};
use proptest::prelude::*;

#[derive(Clone)]
pub(crate) enum Request {
    Open { session: SessionId, epochs: Vec<Epoch> },
    Step(Step),
}

pub(crate) enum Answer {
    Opened(Box<Ledger>),
    Superseded,
    Done,
    Refused,
}

#[derive(Clone, Default)]
pub(crate) struct State {
    ledger: Vec<u8>,
    log: Arc<Vec<NewEntry>>,
}

#[derive(Default)]
pub(crate) struct Backbone {
    state: State,
    /// Every state there was, for going back to.
    history: Vec<State>,
    /// What was ever settled in any state.
    settled: BTreeMap<(Epoch, Lane), RangeSet>,
}

impl Backbone {
    pub(crate) fn ledger(&self) -> Ledger {
        Ledger::from_bytes(&self.state.ledger).expect("we stored it")
    }

    pub(crate) fn log(&self) -> &[NewEntry] {
        &self.state.log
    }

    pub(crate) fn run(&mut self, request: &Request) -> Result<Answer, TestCaseError> {
        let mut ledger = self.ledger();
        match request {
            Request::Open { session, epochs } => {
                if ledger.open_session(*session, epochs).is_err() {
                    return Ok(Answer::Superseded);
                }
                self.write(&ledger, &[]);
                Ok(Answer::Opened(Box::new(ledger)))
            }
            Request::Step(step) => match ledger.fence(&step.ledger) {
                Fence::Apply => {
                    self.write(&step.ledger, &step.entries);
                    self.check()?;
                    Ok(Answer::Done)
                }
                Fence::Repeat => Ok(Answer::Done),
                Fence::Refuse => Ok(Answer::Refused),
            },
        }
    }

    pub(crate) fn roll_back(&mut self, choice: u8) {
        if let Some(state) = self.history.get(usize::from(choice) * self.history.len() / 256) {
            self.state = state.clone();
        }
    }

    fn write(&mut self, ledger: &Ledger, entries: &[NewEntry]) {
        self.history.push(self.state.clone());
        Arc::make_mut(&mut self.state.log).extend_from_slice(entries);
        self.state.ledger = ledger.to_bytes();
        self.note_settled(ledger);
    }

    fn note_settled(&mut self, ledger: &Ledger) {
        for key in ledger.epochs().into_iter().flat_map(|epoch| Lane::ALL.map(|lane| (epoch, lane))) {
            self.settled.entry(key).or_default().union_with(&ledger.settled(key.0, key.1));
        }
    }

    /// No agent is told of anything that was never stored.
    pub(crate) fn check_told(&self, frame: &GatewayFrame) -> Result<(), TestCaseError> {
        let told = match frame {
            GatewayFrame::Welcome(welcome) => &welcome.epochs,
            GatewayFrame::Ack(ack) => &ack.epochs,
            GatewayFrame::Reject(_)
            | GatewayFrame::Pong { .. }
            | GatewayFrame::GoAway(_)
            | GatewayFrame::Dispatch(_)
            | GatewayFrame::CommandConfirm(_) => return Ok(()),
        };
        for (epoch, (lane, set)) in told.iter().flat_map(|told| told.lanes.iter().map(|lane| (told.epoch, lane))) {
            let stored = self.settled.get(&(epoch, *lane)).cloned().unwrap_or_default();
            let untrue = set.difference(&stored);
            prop_assert!(untrue.is_empty(), "told as settled and never stored: {:?}", untrue);
        }
        Ok(())
    }

    /// Ledger and log tell the same story: what the entries add up to is what the ledger says.
    fn check(&self) -> Result<(), TestCaseError> {
        let ledger = self.ledger();
        let mut stored: BTreeMap<(Epoch, Lane), RangeSet> = BTreeMap::new();
        let mut lost: BTreeMap<(Epoch, Lane), RangeSet> = BTreeMap::new();
        for entry in self.log() {
            match body(entry) {
                EntryBody::Gap(told) => {
                    let set = lost.entry((told.gap.epoch, told.gap.lane)).or_default();
                    let news = set.missing_in(told.gap.range);
                    prop_assert_eq!(news.ranges(), [told.gap.range], "told as lost twice: {:?}", told);
                    set.insert(told.gap.range);
                }
                EntryBody::GapWithdrawn(told) => {
                    let set = lost.entry((told.gap.epoch, told.gap.lane)).or_default();
                    prop_assert!(set.contains_range(told.gap.range), "withdrawn but never told: {:?}", told);
                    set.remove(told.gap.range);
                }
                EntryBody::Telemetry(_)
                | EntryBody::Presence(_)
                | EntryBody::Attendance(_)
                | EntryBody::Alarm(_)
                | EntryBody::Command(_)
                | EntryBody::Description(_)
                | EntryBody::Unknown => {
                    let origin = entry.origin.as_ref().expect("a record has an origin");
                    let new = stored.entry((origin.epoch, origin.lane)).or_default().insert_one(origin.seq);
                    prop_assert!(new, "stored twice: {:?}", origin);
                }
            }
        }
        for ((epoch, lane), set) in &stored {
            prop_assert_eq!(&ledger.stored(*epoch, *lane), set);
        }
        let gaps: BTreeMap<(Epoch, Lane), RangeSet> = ledger.gaps().iter().fold(BTreeMap::new(), |mut all, gap| {
            all.entry((gap.epoch, gap.lane)).or_insert_with(RangeSet::new).insert(gap.range);
            all
        });
        lost.retain(|_, set| !set.is_empty());
        prop_assert_eq!(gaps, lost);
        let totals = ledger.totals();
        prop_assert_eq!(totals.produced, totals.stored + totals.lost_sum().records + totals.pending);
        prop_assert_eq!(totals.stored, stored.values().map(RangeSet::count).sum::<u64>());
        Ok(())
    }

    /// Where and how often each record is in the log, with what it says.
    pub(crate) fn stored(&self) -> Vec<((Epoch, Lane, Seq), Bytes)> {
        let origins = self.log().iter().filter_map(|entry| entry.origin.as_ref().map(|origin| (origin, entry)));
        origins.map(|(origin, entry)| ((origin.epoch, origin.lane, origin.seq), entry.body.clone())).collect()
    }
}

/// The entry as a reader gets it: a header before the body's bytes.
fn body(entry: &NewEntry) -> EntryBody {
    let header = EntryHeader {
        position: Position { offset: Offset(1), stamp: Stamp(7) },
        previous: Stamp(0),
        received_at: entry.received_at,
        origin: entry.origin.clone(),
    };
    let decoded = decode_entry(encode_entry(&header, &entry.body)).expect("what is logged can be read");
    assert_eq!(decoded.header, header);
    assert_eq!(decoded.body.kind(), Some(entry.kind));
    if entry.origin.is_some() {
        decode_record(entry.body.clone()).expect("what is logged as a record is one");
    }
    decoded.body
}
