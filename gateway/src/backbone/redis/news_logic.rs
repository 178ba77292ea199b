//! What the channel of a room's commands carries, and the form of a stored command.
//!
//! ```text
//! message: of each news: bytes of the agent (2, big-endian) │ agent, or nothing │ bytes of the update (4) │ update, or nothing
//! command: bytes of the agent (2) │ agent, or nothing │ the command
//! ```

use bytes::{Buf, BufMut, Bytes};
use lockgate_proto::command::Kept;
use lockgate_proto::convert::{decode_entry, encode_command_body, kept_command_from_bytes};
use lockgate_proto::entry::EntryBody;
use lockgate_proto::ids::AgentName;
use lockgate_proto::position::{Offset, Position, Stamp};

use crate::backbone::prepare::placed;
use crate::backbone::{CommandNews, Holder};

/// An update travels as the body of an entry, which is none without a place.
const ANY_PLACE: Position = Position { offset: Offset(1), stamp: Stamp(1) };

/// Bytes that none of ours are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what is stored or told of commands is not readable")]
pub(super) struct BadNews;

/// How a holder stands in keys and values.
pub(super) fn name(holder: &Holder) -> &str {
    holder.as_ref().map_or("", AgentName::as_str)
}

/// The holder of a name.
pub(super) fn holder(name: &[u8]) -> Result<Holder, BadNews> {
    match std::str::from_utf8(name).map_err(|_| BadNews)? {
        "" => Ok(None),
        name => AgentName::new(name).map(Some).map_err(|_| BadNews),
    }
}

/// A message; empty where there is no news.
pub(super) fn encode(news: &[CommandNews]) -> Vec<u8> {
    let mut message = Vec::new();
    for news in news {
        let agent = name(&news.holder);
        message.put_u16(u16::try_from(agent.len()).unwrap_or(u16::MAX));
        message.put_slice(agent.as_bytes());
        let update = news.update.as_ref().map(encode_command_body).unwrap_or_default();
        message.put_u32(u32::try_from(update.len()).unwrap_or(u32::MAX));
        message.put_slice(&update);
    }
    message
}

/// What a message says.
pub(super) fn decode(mut message: Bytes) -> Result<Vec<CommandNews>, BadNews> {
    let mut news = Vec::new();
    while message.has_remaining() {
        let holder = take_holder(&mut message)?;
        let length = usize::try_from(message.try_get_u32().map_err(|_| BadNews)?).map_err(|_| BadNews)?;
        if message.remaining() < length {
            return Err(BadNews);
        }
        let update = match message.split_to(length) {
            empty if empty.is_empty() => None,
            body => match decode_entry(placed(ANY_PLACE, Stamp(0), &body)).map_err(|_| BadNews)?.body {
                EntryBody::Command(update) => Some(update),
                // Of a later version: something has changed all the same.
                EntryBody::Unknown => None,
                _ => return Err(BadNews),
            },
        };
        news.push(CommandNews { holder, update });
    }
    Ok(news)
}

/// A stored command, and in whose book it stands.
pub(super) fn stored(bytes: Vec<u8>) -> Result<(Holder, Kept), BadNews> {
    let mut bytes = Bytes::from(bytes);
    let holder = take_holder(&mut bytes)?;
    Ok((holder, kept_command_from_bytes(&bytes).map_err(|_| BadNews)?))
}

fn take_holder(bytes: &mut Bytes) -> Result<Holder, BadNews> {
    let length = usize::from(bytes.try_get_u16().map_err(|_| BadNews)?);
    if bytes.remaining() < length {
        return Err(BadNews);
    }
    holder(&bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use lockgate_proto::command::{CommandId, CommandUpdate, Outcome, Standing, State};
    use lockgate_proto::ids::{CommandName, DeviceName};
    use lockgate_proto::time::UnixMicros;

    use super::*;

    #[test]
    fn news_come_through_as_they_were_told_and_no_half_of_them() {
        let update = CommandUpdate {
            id: CommandId::new("a/pump").unwrap(),
            device: DeviceName::new("pump").unwrap(),
            name: CommandName::new("open").unwrap(),
            standing: Standing::by_gateway(State::Ended(Outcome::Expired)),
            progress: None,
            at: UnixMicros(7),
        };
        let holder = Some(AgentName::new("pi").unwrap());
        let news = vec![
            CommandNews { holder: holder.clone(), update: None },
            CommandNews { holder: None, update: Some(update) },
        ];
        let message = Bytes::from(encode(&news));
        assert_eq!(decode(message.clone()), Ok(news));
        for length in 1..message.len() {
            let cut = decode(message.slice(..length));
            // After the first news a message may end.
            assert!(cut == Err(BadNews) || cut == Ok(vec![CommandNews { holder: holder.clone(), update: None }]));
        }
        assert_eq!(decode(Bytes::new()), Ok(Vec::new()));
    }
}
