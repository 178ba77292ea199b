//! Which node of a cluster has what: slots of keys, and what `CLUSTER SLOTS` says of them. Pure.

use std::fmt;

use redis::{ErrorKind, FromRedisValue as _, RedisError, ServerErrorKind, Value};

/// Keys of a cluster are spread over so many slots.
pub(super) const SLOTS: u16 = 16_384;

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct NodeName {
    pub(super) host: String,
    pub(super) port: u16,
}

impl NodeName {
    /// Reads `HOST:PORT`, as redirections have it. No host: that of the node which says so.
    fn parse(text: &str, teller: &NodeName) -> Option<NodeName> {
        let (host, port) = text.rsplit_once(':')?;
        let host = if host.is_empty() { &teller.host } else { host };
        Some(NodeName { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

/// Slots in a row, and the master that has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotRange {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) master: NodeName,
}

/// An answer to `CLUSTER SLOTS` that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CLUSTER SLOTS can't be understood")]
pub(super) struct BadSlots;

/// Reads the answer of `teller` to `CLUSTER SLOTS`.
pub(super) fn ranges(answer: &Value, teller: &NodeName) -> Result<Vec<SlotRange>, BadSlots> {
    let Value::Array(ranges) = answer else { return Err(BadSlots) };
    ranges.iter().map(|range| slot_range(range, teller).ok_or(BadSlots)).collect()
}

fn slot_range(range: &Value, teller: &NodeName) -> Option<SlotRange> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else { return None };
    let [host, Value::Int(port), ..] = &master[..] else { return None };
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    let host = match host {
        // It does not know its own name: the one by which it was reached.
        Value::Nil => String::new(),
        host => String::from_redis_value(host.clone()).ok()?,
    };
    let host = if host.is_empty() || host == "?" { teller.host.clone() } else { host };
    let master = NodeName { host, port: u16::try_from(*port).ok()? };
    (first <= last && last < SLOTS).then_some(SlotRange { first, last, master })
}

/// Where to ask instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) to: NodeName,
    /// For this one time: the slot is on its way there.
    pub(super) asking: bool,
}

/// Whether an error of `teller` says to ask elsewhere.
pub(super) fn redirect(error: &RedisError, teller: &NodeName) -> Option<Redirect> {
    let (to, _slot) = error.redirect_node()?;
    let asking = error.kind() == ErrorKind::Server(ServerErrorKind::Ask);
    Some(Redirect { to: NodeName::parse(to, teller)?, asking })
}

/// The slot of all keys with this hash tag.
pub(super) fn slot_of(tag: &str) -> u16 {
    let xmodem = |crc: u16, byte: u8| {
        (0..8).fold(
            crc ^ (u16::from(byte) << 8),
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
            },
        )
    };
    tag.bytes().fold(0, xmodem) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(host: &str, port: u16) -> NodeName {
        NodeName { host: host.to_owned(), port }
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn slots_are_those_that_redis_gives() {
        // From the cluster specification, and by CLUSTER KEYSLOT.
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("foo"), 12_182);
        assert_eq!(slot_of(""), 0);
    }

    #[test]
    fn a_node_without_a_name_is_the_one_that_answers() {
        let node = |host, port| Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(Vec::new())]);
        let range = |first, last, master| Value::Array(vec![Value::Int(first), Value::Int(last), master]);
        let answer = Value::Array(vec![
            range(0, 99, node(text("10.0.0.1"), 7_000)),
            range(100, 199, node(Value::Nil, 7_001)),
            range(200, 16_383, node(text(""), 7_002)),
        ]);
        let read = ranges(&answer, &name("seed", 1)).unwrap();
        let masters: Vec<String> = read.iter().map(|range| range.master.to_string()).collect();
        assert_eq!(masters, ["10.0.0.1:7000", "seed:7001", "seed:7002"]);
        assert_eq!((read[2].first, read[2].last), (200, 16_383));
        for bad in
            [range(0, 16_384, node(text("h"), 1)), range(5, 4, node(text("h"), 1)), text("h"), range(0, 1, text("h"))]
        {
            assert_eq!(ranges(&Value::Array(vec![bad]), &name("seed", 1)), Err(BadSlots));
        }
    }

    #[test]
    fn redirections_name_a_node() {
        let teller = name("a", 1);
        assert_eq!(NodeName::parse("10.0.0.2:6379", &teller), Some(name("10.0.0.2", 6_379)));
        assert_eq!(NodeName::parse(":6379", &teller), Some(name("a", 6_379)));
        assert_eq!(NodeName::parse("::1:6379", &teller), Some(name("::1", 6_379)));
        assert_eq!(NodeName::parse("nowhere", &teller), None);
    }
}
