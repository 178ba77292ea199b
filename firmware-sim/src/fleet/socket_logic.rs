//! WebSocket frames as a reader needs them (RFC 6455), written here anew: a server's come bare, ours go masked.

/// Largest frame that is taken.
const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// In place of a length: it follows in two bytes, or in eight.
const LENGTH_IN_2: u8 = 0x7e;
const LENGTH_IN_8: u8 = 0x7f;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Binary,
    Close,
    Ping,
    Pong,
}

impl Kind {
    fn code(self) -> u8 {
        match self {
            Kind::Binary => 2,
            Kind::Close => 8,
            Kind::Ping => 9,
            Kind::Pong => 10,
        }
    }
}

/// A frame that is there as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'b> {
    pub(super) kind: Kind,
    pub(super) payload: &'b [u8],
    /// Bytes that it takes, head included.
    pub(super) bytes: usize,
}

/// The other end sent something that a gateway does not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the gateway sent a frame that {0}")]
pub(super) struct Violation(&'static str);

/// The frame at the beginning of the bytes; `None`: a part of it is still to come.
pub(super) fn cut(bytes: &[u8]) -> Result<Option<Frame<'_>>, Violation> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & FINAL == 0 {
        return Err(Violation("is a fragment"));
    }
    let kind = [Kind::Binary, Kind::Close, Kind::Ping, Kind::Pong].into_iter().find(|kind| kind.code() == first & 0x7f);
    let kind = kind.ok_or(Violation("is of a kind that we do not know"))?;
    if second & MASKED != 0 {
        return Err(Violation("is masked"));
    }
    let (length, rest) = match second {
        &LENGTH_IN_2 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        &LENGTH_IN_8 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        short => (u64::from(*short), rest),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(Violation("is larger than any gateway's"));
    }
    let frame = |payload| Frame { kind, payload, bytes: bytes.len() - rest.len() + length };
    Ok(rest.get(..length).map(frame))
}

/// Appends a frame of ours. The mask is zero: it hides nothing, and costs nothing.
pub(super) fn put(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    out.push(FINAL | kind.code());
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..LENGTH_IN_2), _) => out.push(MASKED | length),
        (_, Ok(length)) => {
            out.push(MASKED | LENGTH_IN_2);
            out.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(MASKED | LENGTH_IN_8);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// The number and words of a close.
pub(super) fn closing(payload: &[u8]) -> (Option<u16>, String) {
    match payload.split_first_chunk() {
        Some((number, reason)) => (Some(u16::from_be_bytes(*number)), String::from_utf8_lossy(reason).into_owned()),
        None => (None, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a server writes it: no mask.
    fn bare(payload: &[u8]) -> Vec<u8> {
        let mut framed = Vec::new();
        put(&mut framed, Kind::Binary, payload);
        let head = framed.len() - payload.len() - 4;
        framed[1] &= 0x7f;
        framed.drain(head..head + 4);
        framed
    }

    #[test]
    fn frames_of_every_length_are_cut_where_they_end() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
            let payload = vec![7; length];
            let mut bytes = bare(&payload);
            let whole = bytes.len();
            bytes.extend_from_slice(b"next");
            let frame = Frame { kind: Kind::Binary, payload: &payload, bytes: whole };
            assert_eq!(cut(&bytes), Ok(Some(frame)), "{length}");
            for part in [0, 1, 2, 5, 9, whole - 1] {
                assert_eq!(cut(&bytes[..part.min(whole - 1)]), Ok(None), "{part} of {length}");
            }
        }
    }

    #[test]
    fn the_examples_of_the_rfc_are_understood() {
        let ping = [0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
        assert_eq!(cut(&ping), Ok(Some(Frame { kind: Kind::Ping, payload: b"Hello", bytes: 7 })));
        let mut pong = Vec::new();
        put(&mut pong, Kind::Pong, b"Hello");
        assert_eq!(pong, [0x8a, 0x85, 0, 0, 0, 0, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
        assert_eq!(closing(&[0x0f, 0xa0, b'b', b'y', b'e']), (Some(4000), "bye".to_owned()));
        assert_eq!(closing(&[]), (None, String::new()));
    }

    #[test]
    fn what_a_gateway_never_sends_is_refused() {
        let refused = |bytes: &[u8]| assert!(cut(bytes).is_err(), "{bytes:?}");
        refused(&[0x02, 0x00]);
        refused(&[0x81, 0x00]);
        refused(&[0x82, 0x80, 0, 0, 0, 0]);
        refused(&[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]);
    }
}
