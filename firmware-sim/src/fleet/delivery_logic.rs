//! Reads of a delivery only what the account needs: places, stamps, marks. A thousand readers decode the same
//! entries, so nothing is allocated here; whatever is no delivery is decoded in full elsewhere.
//!
//! The numbers are those of client.proto, entry.proto and record.proto; tests hold this against the generated encoder.

use lockgate_proto::entry::EntryHeader;
use lockgate_proto::position::{Offset, Position, Stamp};
use lockgate_proto::time::UnixMicros;

use super::mark_logic::Mark;

/// `ServerFrame.delivery`.
const DELIVERY: u32 = 16;

/// The bytes are no Protobuf message as the gateway should send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a delivery that can't be decoded")]
pub(super) struct Undecodable;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value<'b> {
    Number(u64),
    Fixed(u64),
    Bytes(&'b [u8]),
}

/// The fields of an encoded message, in the order in which they stand.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn next(&mut self) -> Result<Option<(u32, Value<'b>)>, Undecodable> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => Value::Fixed(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Undecodable)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(Undecodable)?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed(u32::from_le_bytes(self.array()?).into()),
            _ => return Err(Undecodable),
        };
        Ok(Some((u32::try_from(key >> 3).map_err(|_| Undecodable)?, value)))
    }

    fn varint(&mut self) -> Result<u64, Undecodable> {
        let mut value = 0;
        for (index, byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok(value);
            }
        }
        Err(Undecodable)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Undecodable)?;
        self.0 = rest;
        Ok(*array)
    }

    /// The first field of this number that holds bytes.
    fn bytes_of(mut self, wanted: u32) -> Result<Option<&'b [u8]>, Undecodable> {
        while let Some((number, value)) = self.next()? {
            if let Value::Bytes(bytes) = value
                && number == wanted
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

/// Entries of one room.
pub(super) struct Delivery<'b> {
    /// The room's site.
    pub(super) site: &'b [u8],
    entries: Fields<'b>,
}

impl<'b> Delivery<'b> {
    /// `None`: the message is something else.
    pub(super) fn of(message: &'b [u8]) -> Result<Option<Delivery<'b>>, Undecodable> {
        let mut frame = Fields(message);
        let Some((DELIVERY, Value::Bytes(body))) = frame.next()? else { return Ok(None) };
        let mut entries = Fields(body);
        match entries.next()? {
            Some((1, Value::Bytes(site))) => Ok(Some(Delivery { site, entries })),
            _ => Err(Undecodable),
        }
    }

    /// The next entry.
    pub(super) fn next(&mut self) -> Result<Option<Seen<'b>>, Undecodable> {
        loop {
            match self.entries.next()? {
                None => return Ok(None),
                Some((2, Value::Bytes(entry))) => return Seen::of(entry).map(Some),
                Some(_) => {}
            }
        }
    }
}

/// As much of an entry as the account needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen<'b> {
    /// Place and stamps; the origin is left out.
    pub(super) header: EntryHeader,
    /// The record was taken before its agent's connection.
    pub(super) backlog: bool,
    /// What it says.
    pub(super) body: Body<'b>,
}

/// What an entry says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body<'b> {
    /// Readings; the first one's raw value, if it has one.
    Telemetry(Option<&'b [u8]>),
    /// A loss of records of this epoch.
    Gap(u64),
    /// Anything else.
    Other,
}

impl<'b> Seen<'b> {
    fn of(entry: &'b [u8]) -> Result<Seen<'b>, Undecodable> {
        let start = Position::START;
        let mut header =
            EntryHeader { position: start, previous: start.stamp, received_at: UnixMicros::ZERO, origin: None };
        let (mut backlog, mut body) = (false, Body::Other);
        let mut fields = Fields(entry);
        while let Some((number, value)) = fields.next()? {
            match (number, value) {
                (1, Value::Number(offset)) => header.position.offset = Offset(offset),
                (2, Value::Fixed(stamp)) => header.position.stamp = Stamp(stamp),
                (3, Value::Fixed(stamp)) => header.previous = Stamp(stamp),
                (5, Value::Bytes(origin)) => backlog = is_backlog(origin)?,
                (16, Value::Bytes(telemetry)) => body = Body::Telemetry(first_raw(telemetry)?),
                (18, Value::Bytes(gap)) => body = Body::Gap(epoch_of(gap)?),
                _ => {}
            }
        }
        Ok(Seen { header, backlog, body })
    }

    /// The mark, where the entry is a record of a fleet.
    pub(super) fn mark(&self) -> Option<Mark> {
        match self.body {
            Body::Telemetry(raw) => Mark::from_bytes(raw?),
            Body::Gap(_) | Body::Other => None,
        }
    }
}

fn is_backlog(origin: &[u8]) -> Result<bool, Undecodable> {
    let mut fields = Fields(origin);
    while let Some((number, value)) = fields.next()? {
        if (number, value) == (6, Value::Number(1)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn first_raw(telemetry: &[u8]) -> Result<Option<&[u8]>, Undecodable> {
    match Fields(telemetry).bytes_of(6)? {
        Some(value) => Fields(value).bytes_of(6),
        None => Ok(None),
    }
}

fn epoch_of(gap: &[u8]) -> Result<u64, Undecodable> {
    match Fields(gap).next()? {
        Some((1, Value::Fixed(epoch))) => Ok(epoch),
        _ => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use lockgate_proto::wire;
    use lockgate_proto::wire::entry::Body as WireBody;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn frame(entries: Vec<wire::Entry>) -> Vec<u8> {
        let delivery = wire::Delivery { site: "plant-1".to_owned(), entries };
        wire::ServerFrame { id: 0, body: Some(wire::server_frame::Body::Delivery(delivery)) }.encode_to_vec()
    }

    fn telemetry(mark: Mark) -> WireBody {
        let raw = wire::Value { kind: Some(wire::value::Kind::Raw(mark.to_bytes().to_vec().into())) };
        let number = wire::Value { kind: Some(wire::value::Kind::Number(1.5)) };
        WireBody::Telemetry(wire::Telemetry {
            device: "device-1".to_owned(),
            metrics: vec![wire::Metric::default(); 2],
            base_time_us: 7,
            values: vec![raw, number],
            ..Default::default()
        })
    }

    proptest! {
        #[test]
        fn entries_read_as_the_generated_encoder_wrote_them(
            entries in prop::collection::vec((1_u64.., any::<u64>(), any::<u64>(), any::<bool>(), any::<u64>()), 0..20),
        ) {
            let mark = |number| Mark { run: 3, agent: 2, number, at_us: 9 };
            let sent = entries.iter().map(|(offset, stamp, previous_stamp, backlog, number)| wire::Entry {
                offset: *offset,
                stamp: *stamp,
                previous_stamp: *previous_stamp,
                received_at_us: -5,
                origin: Some(wire::Origin { agent: "a".to_owned(), seq: 6, backlog: *backlog, ..Default::default() }),
                body: Some(telemetry(mark(*number))),
            });
            let message = frame(sent.collect());
            let mut delivery = Delivery::of(&message).unwrap().unwrap();
            prop_assert_eq!(delivery.site, b"plant-1");
            for (offset, stamp, previous, backlog, number) in entries {
                let seen = delivery.next().unwrap().unwrap();
                let position = Position { offset: Offset(offset), stamp: Stamp(stamp) };
                prop_assert_eq!((seen.header.position, seen.header.previous), (position, Stamp(previous)));
                prop_assert_eq!((seen.backlog, seen.mark()), (backlog, Some(mark(number))));
            }
            prop_assert_eq!(delivery.next(), Ok(None));
        }

        #[test]
        fn no_bytes_at_all_break_a_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for message in [bytes.clone(), [&[0x82, 0x01, 0x7f][..], &bytes].concat()] {
                if let Ok(Some(mut delivery)) = Delivery::of(&message) {
                    while let Ok(Some(_)) = delivery.next() {}
                }
            }
        }
    }

    #[test]
    fn gaps_are_told_by_their_epoch_and_other_frames_are_left_alone() {
        let gap = wire::Gap { epoch: 77, agent: "a".to_owned(), ..Default::default() };
        let message = frame(vec![wire::Entry { offset: 1, body: Some(WireBody::Gap(gap)), ..Default::default() }]);
        let seen = Delivery::of(&message).unwrap().unwrap().next().unwrap().unwrap();
        assert_eq!((seen.mark(), seen.body), (None, Body::Gap(77)));
        let positions = wire::server_frame::Body::Positions(wire::Positions::default());
        let other = wire::ServerFrame { id: 0, body: Some(positions) }.encode_to_vec();
        assert!(Delivery::of(&other).unwrap().is_none());
    }
}
