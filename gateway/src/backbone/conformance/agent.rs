//! An agent as the suite plays it: a session, a ledger, and numbered records.

use std::sync::Arc;

use lockgate_proto::convert::{encode_gap_body, encode_record};
use lockgate_proto::description::{CommandDescription, Description};
use lockgate_proto::entry::{EntryKind, Origin};
use lockgate_proto::gap::Gap;
use lockgate_proto::ids::{
    AgentId, AgentName, CommandName, DeviceName, MetricName, RoomId, SessionId, Site, Tag, Tenant,
};
use lockgate_proto::ledger::Ledger;
use lockgate_proto::position::Position;
use lockgate_proto::reading::{Quality, Reading, Value};
use lockgate_proto::record::{Presence, PresenceReason, Record, Telemetry};
use lockgate_proto::seq::{Epoch, Lane, Seq};
use lockgate_proto::time::UnixMicros;

use crate::backbone::{
    Backbone, BackboneError, LogRead, LoggedEntry, NewEntry, Opened, ReadLimit, ShadowUpdate, Step, Stepped,
};

/// Time of receipt of the suite's first entries.
pub(crate) const NOON: UnixMicros = UnixMicros(1_700_000_000_000_000);

/// More than any case stores.
pub(crate) const ALL: ReadLimit = ReadLimit { entries_max: 100_000, bytes_max: usize::MAX };

pub(crate) fn room(site: &str) -> RoomId {
    RoomId { tenant: Tenant::new("acme").unwrap(), site: Site::new(site).unwrap() }
}

pub(crate) fn device(name: &str) -> DeviceName {
    DeviceName::new(name).unwrap()
}

/// One agent with one open session.
pub(crate) struct Agent {
    pub(crate) backbone: Arc<dyn Backbone>,
    pub(crate) id: AgentId,
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) epoch_order: u64,
    pub(crate) n: u64,
    pub(crate) received_at: UnixMicros,
    pub(crate) next_seq: [Seq; 2],
}

impl Agent {
    /// Opens a session in an epoch of the same number.
    pub(crate) async fn open(backbone: &Arc<dyn Backbone>, room: &RoomId, name: &str, session: u64) -> Agent {
        let id = AgentId { room: room.clone(), agent: AgentName::new(name).unwrap() };
        let epoch = Epoch(session);
        let ledger = granted(backbone.open_session(&id, SessionId(session), &[epoch]).await.unwrap());
        let backbone = Arc::clone(backbone);
        Agent {
            backbone,
            id,
            session: SessionId(session),
            epoch,
            epoch_order: ledger.order(epoch).unwrap(),
            ledger: Arc::new(ledger),
            n: 0,
            received_at: NOON,
            next_seq: [Seq::FIRST; 2],
        }
    }

    /// Goes on as another session of the same agent.
    pub(crate) fn go_on_as(&mut self, session: SessionId, ledger: Ledger) {
        (self.session, self.n, self.ledger) = (session, 0, Arc::new(ledger));
    }

    /// A number for a record of the lane.
    pub(crate) fn number(&mut self, lane: Lane) -> Seq {
        let next = &mut self.next_seq[lane.index()];
        let seq = *next;
        *next = seq.next();
        seq
    }

    /// The next entry of a device with one reading of each metric.
    pub(crate) fn telemetry(&mut self, device_name: &str, metrics: &[(&str, i64)]) -> NewEntry {
        let seq = self.number(Lane::Telemetry);
        self.numbered(seq, device_name, metrics, false, false)
    }

    /// An entry of this very number.
    pub(crate) fn numbered(
        &mut self,
        seq: Seq,
        device_name: &str,
        metrics: &[(&str, i64)],
        backlog: bool,
        historical: bool,
    ) -> NewEntry {
        let reading = |(metric, value): &(&str, i64)| Reading {
            metric: MetricName::new(metric).unwrap(),
            unit: None,
            value: Value::Integer(*value),
            sampled_at: self.received_at.offset_by(-1_000),
            quality: Quality::Good,
        };
        let readings = metrics.iter().map(reading).collect();
        let record = Record::Telemetry(Telemetry { device: device(device_name), readings, historical });
        self.record(Lane::Telemetry, seq, backlog, &record)
    }

    pub(crate) fn presence(&mut self, device_name: &str, online: bool) -> NewEntry {
        self.presence_by(device_name, online, PresenceReason::Said)
    }

    pub(crate) fn presence_by(&mut self, device_name: &str, online: bool, reason: PresenceReason) -> NewEntry {
        let seq = self.number(Lane::Events);
        let presence = Presence { reason, ..Presence::said(device(device_name), online, self.received_at, false) };
        self.record(Lane::Events, seq, false, &Record::Presence(presence))
    }

    /// A description of this very number, with a command of this name.
    pub(crate) fn described(
        &mut self,
        seq: Seq,
        device_name: &str,
        command: &str,
        tags: &[&str],
        backlog: bool,
    ) -> NewEntry {
        let command = CommandDescription {
            name: CommandName::new(command).unwrap(),
            label: None,
            arguments: Vec::new(),
            confirm: false,
            idempotent: false,
            at_once: 1,
            timeout: None,
        };
        let tags = tags.iter().map(|tag| Tag::new(tag).unwrap()).collect();
        let description = Description::new(device(device_name), Vec::new(), vec![command], tags).unwrap();
        self.record(Lane::Events, seq, backlog, &Record::Description(description))
    }

    pub(crate) fn gap(&mut self, gap: &Gap) -> NewEntry {
        self.ledger_mut().lose(gap);
        NewEntry {
            received_at: self.received_at,
            origin: None,
            kind: EntryKind::Gap,
            device: None,
            body: encode_gap_body(&self.id.agent, gap, false),
            shadow: Vec::new(),
        }
    }

    pub(crate) fn ledger_mut(&mut self) -> &mut Ledger {
        Arc::make_mut(&mut self.ledger)
    }

    fn record(&mut self, lane: Lane, seq: Seq, backlog: bool, record: &Record) -> NewEntry {
        let epoch = self.epoch;
        self.ledger_mut().store(epoch, lane, seq);
        let origin = Origin { agent: self.id.agent.clone(), epoch, epoch_order: self.epoch_order, lane, seq, backlog };
        let (kind, shadow) = match record {
            // What a device tells of its past says nothing of the present.
            Record::Telemetry(telemetry) if telemetry.historical => (EntryKind::Telemetry, Vec::new()),
            Record::Telemetry(telemetry) => {
                let updates = telemetry.readings.iter().cloned().map(ShadowUpdate::Metric);
                (EntryKind::Telemetry, updates.collect())
            }
            Record::Presence(presence) => {
                let (online, stale, at) = (presence.online, presence.is_stale(), presence.at);
                let update = ShadowUpdate::Online { online, stale, at };
                (EntryKind::Presence, vec![update])
            }
            Record::Description(description) => {
                (EntryKind::Description, vec![ShadowUpdate::Described(description.clone())])
            }
        };
        NewEntry {
            received_at: self.received_at,
            origin: Some(origin),
            kind,
            device: Some(record.device().clone()),
            body: encode_record(record),
            shadow,
        }
    }

    /// Writes the entries as the next step.
    pub(crate) async fn step(&mut self, entries: Vec<NewEntry>) -> Result<Stepped, BackboneError> {
        self.n += 1;
        self.ask(self.n, entries).await
    }

    /// The same, of which nothing may stand in the way.
    pub(crate) async fn stored(&mut self, entries: Vec<NewEntry>) {
        assert_eq!(self.step(entries).await, Ok(Stepped::Done));
    }

    /// Asks for a step of this very number.
    pub(crate) async fn ask(&self, n: u64, entries: Vec<NewEntry>) -> Result<Stepped, BackboneError> {
        let step = Step { session: self.session, n, ledger: Arc::clone(&self.ledger), entries: entries.into() };
        self.backbone.step(&self.id, &step).await
    }

    /// Writes `count` records of one device as one step.
    pub(crate) async fn store(&mut self, device_name: &str, count: i64) {
        let entries = (0..count).map(|value| self.telemetry(device_name, &[("level", value)])).collect();
        assert_eq!(self.step(entries).await, Ok(Stepped::Done));
    }

    /// All of the agent's room.
    pub(crate) async fn log(&self) -> Vec<LoggedEntry> {
        log_of(&self.backbone, &self.id.room).await
    }
}

/// The whole log of a room from which nothing was dropped.
pub(crate) async fn log_of(backbone: &Arc<dyn Backbone>, room: &RoomId) -> Vec<LoggedEntry> {
    entries(backbone.read_after(room, Position::START, ALL).await.unwrap())
}

pub(crate) fn entries(read: LogRead) -> Vec<LoggedEntry> {
    match read {
        LogRead::Entries(entries) => entries,
        LogRead::Trimmed | LogRead::Diverged => panic!("expected entries, got {read:?}"),
    }
}

pub(crate) fn granted(opened: Opened) -> Ledger {
    match opened {
        Opened::Granted(ledger) => *ledger,
        Opened::Superseded => panic!("the session was refused"),
    }
}

/// Entries follow one another, each naming the one before it.
pub(crate) fn assert_linked(log: &[LoggedEntry]) {
    for pair in log.windows(2) {
        assert_eq!(pair[1].position.offset, pair[0].position.offset.next());
        assert_eq!(pair[1].previous, pair[0].position.stamp);
    }
}
