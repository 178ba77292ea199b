//! Frames of the edge link to bytes and back.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use super::basic::{
    agent_name, gap_from_wire, gap_to_wire, instant_from_wire, instant_to_wire, lane_from_wire, lane_to_wire,
    set_from_wire, set_to_wire, site_if_told,
};
use super::command::{
    dispatch_from_wire, dispatch_to_wire, heard_from_wire, heard_to_wire, mark_from_wire, mark_to_wire,
    updates_from_wire, updates_to_wire,
};
use super::{ConvertError, at_most, shortened};
use crate::command::Confirm;
use crate::gap::Gap;
use crate::ids::SessionId;
use crate::limits::{
    EDGE_MESSAGE_BYTES_MAX, EPOCHS_HELD_MAX, GATEWAYS_MAX, PUBLISH_GAPS_MAX, PUBLISH_RECORDS_MAX, RECORD_BYTES_MAX,
    SETTLED_RANGES_MAX, TEXT_BYTES_MAX,
};
use crate::link::frame::{
    Ack, AgentFrame, EpochHeld, EpochSettled, GatewayFrame, GoAway, Hello, LaneHeld, LinkLimits, Publish, Reject,
    SequencedRecord, Welcome,
};
use crate::ranges::RangeSet;
use crate::seq::{Epoch, Lane, Seq};
use crate::time::UnixMicros;
use crate::wire;

/// An agent's frame as one WebSocket message.
pub fn encode_agent_frame(frame: &AgentFrame) -> Bytes {
    use wire::agent_frame::Frame;
    let frame = match frame {
        AgentFrame::Hello(hello) => Frame::Hello(hello_to_wire(hello)),
        AgentFrame::Publish(publish) => Frame::Publish(publish_to_wire(publish)),
        AgentFrame::Ping { id } => Frame::Ping(wire::Ping { id: *id }),
        AgentFrame::CommandUpdates(updates) => Frame::CommandUpdates(updates_to_wire(updates)),
    };
    wire::AgentFrame { frame: Some(frame) }.encode_to_vec().into()
}

/// The frame, every bound checked; `None` for a kind of a later version, to be skipped.
pub fn decode_agent_frame(bytes: Bytes) -> Result<Option<AgentFrame>, ConvertError> {
    use wire::agent_frame::Frame;
    at_most("message", bytes.len(), EDGE_MESSAGE_BYTES_MAX)?;
    Ok(match wire::AgentFrame::decode(bytes)?.frame {
        Some(Frame::Hello(hello)) => Some(AgentFrame::Hello(hello_from_wire(hello)?)),
        Some(Frame::Publish(publish)) => Some(AgentFrame::Publish(publish_from_wire(publish)?)),
        Some(Frame::Ping(ping)) => Some(AgentFrame::Ping { id: ping.id }),
        Some(Frame::CommandUpdates(updates)) => Some(AgentFrame::CommandUpdates(updates_from_wire(updates)?)),
        None => None,
    })
}

/// A gateway's frame as one WebSocket message.
pub fn encode_gateway_frame(frame: &GatewayFrame) -> Bytes {
    use wire::gateway_frame::Frame;
    let frame = match frame {
        GatewayFrame::Welcome(welcome) => Frame::Welcome(welcome_to_wire(welcome)),
        GatewayFrame::Ack(ack) => Frame::Ack(wire::Ack {
            epochs: ack.epochs.iter().map(settled_to_wire).collect(),
            limits: ack.limits.as_ref().map(limits_to_wire),
            retry_after_ms: ack.retry_after.map_or(0, millis),
        }),
        GatewayFrame::Reject(reject) => Frame::Reject(wire::Reject {
            epoch: reject.epoch.0,
            lane: lane_to_wire(reject.lane),
            seq: reject.seq.get(),
            reason: shortened(&reject.reason),
        }),
        GatewayFrame::Pong { id, server_time } => Frame::Pong(wire::Pong { id: *id, server_time_us: server_time.0 }),
        GatewayFrame::GoAway(go_away) => Frame::GoAway(wire::GoAway {
            reason: shortened(&go_away.reason),
            reconnect_after_ms: millis(go_away.reconnect_after),
            gateways: go_away.gateways.clone(),
        }),
        GatewayFrame::Dispatch(dispatch) => Frame::Dispatch(dispatch_to_wire(dispatch)),
        GatewayFrame::CommandConfirm(confirm) => {
            Frame::CommandConfirm(wire::CommandConfirm { through: confirm.through })
        }
    };
    wire::GatewayFrame { frame: Some(frame) }.encode_to_vec().into()
}

/// The frame, every bound checked; `None` for a kind of a later version, to be skipped.
pub fn decode_gateway_frame(bytes: Bytes) -> Result<Option<GatewayFrame>, ConvertError> {
    use wire::gateway_frame::Frame;
    at_most("message", bytes.len(), EDGE_MESSAGE_BYTES_MAX)?;
    Ok(match wire::GatewayFrame::decode(bytes)?.frame {
        Some(Frame::Welcome(welcome)) => Some(GatewayFrame::Welcome(welcome_from_wire(welcome)?)),
        Some(Frame::Ack(ack)) => Some(GatewayFrame::Ack(Ack {
            epochs: settled_list_from_wire(ack.epochs)?,
            limits: ack.limits.map(limits_from_wire).transpose()?,
            retry_after: (ack.retry_after_ms != 0).then(|| Duration::from_millis(ack.retry_after_ms.into())),
        })),
        Some(Frame::Reject(reject)) => Some(GatewayFrame::Reject(Reject {
            epoch: Epoch(reject.epoch),
            lane: lane_from_wire(reject.lane)?,
            seq: seq_from_wire(reject.seq)?,
            reason: bounded_text("reason", reject.reason)?,
        })),
        Some(Frame::Pong(pong)) => {
            Some(GatewayFrame::Pong { id: pong.id, server_time: UnixMicros(pong.server_time_us) })
        }
        Some(Frame::GoAway(go_away)) => Some(GatewayFrame::GoAway(go_away_from_wire(go_away)?)),
        Some(Frame::Dispatch(dispatch)) => Some(GatewayFrame::Dispatch(dispatch_from_wire(dispatch)?)),
        Some(Frame::CommandConfirm(confirm)) => {
            Some(GatewayFrame::CommandConfirm(Confirm { through: confirm.through }))
        }
        None => None,
    })
}

fn hello_to_wire(hello: &Hello) -> wire::Hello {
    wire::Hello {
        agent: hello.agent.as_str().to_owned(),
        site: hello.site.as_ref().map(|site| site.as_str().to_owned()).unwrap_or_default(),
        epochs: hello.epochs.iter().map(held_to_wire).collect(),
        clock_us: instant_to_wire(hello.clock),
        build: hello.build.clone(),
        capabilities: hello.capabilities.clone(),
        gaps: hello.gaps.iter().map(|gap| gap_to_wire(gap, None)).collect(),
        journal: hello.journal.map(mark_to_wire),
    }
}

fn hello_from_wire(hello: wire::Hello) -> Result<Hello, ConvertError> {
    at_most("epochs", hello.epochs.len(), EPOCHS_HELD_MAX)?;
    at_most("capabilities", hello.capabilities.len(), GATEWAYS_MAX)?;
    if hello.epochs.is_empty() {
        return Err(ConvertError::Missing { field: "epochs" });
    }
    let epochs = hello.epochs.into_iter().map(held_from_wire).collect::<Result<Vec<_>, _>>()?;
    let mut ids: Vec<Epoch> = epochs.iter().map(|held| held.epoch).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ConvertError::Invalid { field: "epochs", problem: "names an epoch twice" });
    }
    Ok(Hello {
        agent: agent_name(&hello.agent)?,
        site: site_if_told(&hello.site)?,
        epochs,
        clock: instant_from_wire(hello.clock_us),
        build: bounded_text("build", hello.build)?,
        capabilities: texts_from_wire("capabilities", hello.capabilities)?,
        gaps: gaps_from_wire(&hello.gaps, Lane::ALL.len() * EPOCHS_HELD_MAX)?,
        journal: hello.journal.map(mark_from_wire).transpose()?,
    })
}

fn held_to_wire(held: &EpochHeld) -> wire::EpochHeld {
    let lanes = Lane::ALL
        .into_iter()
        .filter(|lane| held.lane(*lane).last != Seq::NONE)
        .map(|lane| wire::LaneHeld {
            lane: lane_to_wire(lane),
            held: set_to_wire(&held.lane(lane).held, SETTLED_RANGES_MAX),
            last: held.lane(lane).last.get(),
        })
        .collect();
    wire::EpochHeld { epoch: held.epoch.0, lanes }
}

fn held_from_wire(held: wire::EpochHeld) -> Result<EpochHeld, ConvertError> {
    let mut lanes = [LaneHeld::default(), LaneHeld::default()];
    at_most("epochs.lanes", held.lanes.len(), lanes.len())?;
    for lane in held.lanes {
        let ranges = set_from_wire("epochs.lanes.held", lane.held, SETTLED_RANGES_MAX)?;
        let last = Seq::new(lane.last);
        if last < ranges.last() {
            return Err(ConvertError::Invalid { field: "epochs.lanes.last", problem: "is below what is held" });
        }
        check_last("epochs.lanes.last", last)?;
        lanes[lane_from_wire(lane.lane)?.index()] = LaneHeld { held: ranges, last };
    }
    Ok(EpochHeld { epoch: Epoch(held.epoch), lanes })
}

fn publish_to_wire(publish: &Publish) -> wire::Publish {
    wire::Publish {
        epoch: publish.epoch.0,
        lane: lane_to_wire(publish.lane),
        records: publish
            .records
            .iter()
            .map(|record| wire::SequencedRecord { seq: record.seq.get(), record: record.record.clone() })
            .collect(),
        backlog: publish.backlog,
        gaps: publish.gaps.iter().map(|gap| gap_to_wire(gap, None)).collect(),
        last: publish.last.get(),
    }
}

fn publish_from_wire(publish: wire::Publish) -> Result<Publish, ConvertError> {
    at_most("records", publish.records.len(), PUBLISH_RECORDS_MAX)?;
    let last = Seq::new(publish.last);
    let mut records = Vec::with_capacity(publish.records.len());
    let mut before = Seq::NONE;
    for record in publish.records {
        let seq = Seq::new(record.seq);
        if seq <= before || last < seq {
            return Err(ConvertError::Invalid { field: "records.seq", problem: "does not ascend, or is above last" });
        }
        before = seq;
        records.push(SequencedRecord { seq, record: record.record });
    }
    check_last("last", last)?;
    Ok(Publish {
        epoch: Epoch(publish.epoch),
        lane: lane_from_wire(publish.lane)?,
        records,
        backlog: publish.backlog,
        gaps: gaps_from_wire(&publish.gaps, PUBLISH_GAPS_MAX)?,
        last,
    })
}

fn gaps_from_wire(gaps: &[wire::Gap], max: usize) -> Result<Vec<Gap>, ConvertError> {
    at_most("gaps", gaps.len(), max)?;
    let gap = |gap: &wire::Gap| {
        let gap = gap_from_wire(gap)?;
        if !gap.is_unbounded() {
            check_last("gaps.range", gap.range.last())?;
        }
        Ok(gap)
    };
    gaps.iter().map(gap).collect()
}

fn check_last(field: &'static str, last: Seq) -> Result<(), ConvertError> {
    const PROBLEM: &str = "is above 2^48, the highest number that a record can have";
    if last > Seq::LAST { Err(ConvertError::Invalid { field, problem: PROBLEM }) } else { Ok(()) }
}

fn welcome_to_wire(welcome: &Welcome) -> wire::Welcome {
    wire::Welcome {
        session: welcome.session.0,
        epochs: welcome.epochs.iter().map(settled_to_wire).collect(),
        retention_horizon_us: instant_to_wire(welcome.retention_horizon),
        server_time_us: welcome.server_time.0,
        limits: Some(limits_to_wire(&welcome.limits)),
        journal_heard: welcome.journal_heard.map(heard_to_wire),
    }
}

fn welcome_from_wire(welcome: wire::Welcome) -> Result<Welcome, ConvertError> {
    Ok(Welcome {
        session: SessionId(welcome.session),
        epochs: settled_list_from_wire(welcome.epochs)?,
        retention_horizon: instant_from_wire(welcome.retention_horizon_us),
        server_time: UnixMicros(welcome.server_time_us),
        limits: limits_from_wire(welcome.limits.ok_or(ConvertError::Missing { field: "limits" })?)?,
        journal_heard: welcome.journal_heard.map(heard_from_wire).transpose()?,
    })
}

fn settled_to_wire(settled: &EpochSettled) -> wire::EpochSettled {
    let lane = |(lane, set): &(Lane, RangeSet)| wire::LaneSettled {
        lane: lane_to_wire(*lane),
        settled: set_to_wire(set, SETTLED_RANGES_MAX),
    };
    wire::EpochSettled { epoch: settled.epoch.0, lanes: settled.lanes.iter().map(lane).collect() }
}

fn settled_list_from_wire(epochs: Vec<wire::EpochSettled>) -> Result<Vec<EpochSettled>, ConvertError> {
    at_most("epochs", epochs.len(), EPOCHS_HELD_MAX)?;
    epochs.into_iter().map(settled_from_wire).collect()
}

fn settled_from_wire(settled: wire::EpochSettled) -> Result<EpochSettled, ConvertError> {
    at_most("epochs.lanes", settled.lanes.len(), Lane::ALL.len())?;
    let lane = |lane: wire::LaneSettled| {
        let set = set_from_wire("epochs.lanes.settled", lane.settled, SETTLED_RANGES_MAX)?;
        Ok((lane_from_wire(lane.lane)?, set))
    };
    Ok(EpochSettled {
        epoch: Epoch(settled.epoch),
        lanes: settled.lanes.into_iter().map(lane).collect::<Result<_, ConvertError>>()?,
    })
}

fn limits_to_wire(limits: &LinkLimits) -> wire::Limits {
    wire::Limits {
        message_bytes_max: limits.message_bytes_max as u64,
        record_bytes_max: limits.record_bytes_max as u64,
        window_bytes: limits.window_bytes,
        window_records: limits.window_records,
        ping_interval_ms: millis(limits.ping_interval),
    }
}

/// A gateway may ask for less than this version's bounds; more than they allow is not used.
fn limits_from_wire(limits: wire::Limits) -> Result<LinkLimits, ConvertError> {
    let bounded = |field, bytes: u64, max: usize| match usize::try_from(bytes).unwrap_or(usize::MAX) {
        0 => Err(ConvertError::Missing { field }),
        bytes => Ok(bytes.min(max)),
    };
    Ok(LinkLimits {
        message_bytes_max: bounded("message_bytes_max", limits.message_bytes_max, EDGE_MESSAGE_BYTES_MAX)?,
        record_bytes_max: bounded("record_bytes_max", limits.record_bytes_max, RECORD_BYTES_MAX)?,
        window_bytes: limits.window_bytes,
        window_records: limits.window_records,
        ping_interval: Duration::from_millis(limits.ping_interval_ms.into()),
    })
}

fn go_away_from_wire(go_away: wire::GoAway) -> Result<GoAway, ConvertError> {
    Ok(GoAway {
        reason: bounded_text("reason", go_away.reason)?,
        reconnect_after: Duration::from_millis(go_away.reconnect_after_ms.into()),
        gateways: texts_from_wire("gateways", go_away.gateways)?,
    })
}

fn texts_from_wire(field: &'static str, texts: Vec<String>) -> Result<Vec<String>, ConvertError> {
    at_most(field, texts.len(), GATEWAYS_MAX)?;
    texts.into_iter().map(|text| bounded_text(field, text)).collect()
}

fn bounded_text(field: &'static str, text: String) -> Result<String, ConvertError> {
    at_most(field, text.len(), TEXT_BYTES_MAX)?;
    Ok(text)
}

fn seq_from_wire(seq: u64) -> Result<Seq, ConvertError> {
    if seq == 0 { Err(ConvertError::Missing { field: "seq" }) } else { Ok(Seq::new(seq)) }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
