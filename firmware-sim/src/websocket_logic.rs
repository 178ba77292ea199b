//! WebSocket frames (RFC 6455), written here anew, of both ends: a server's come bare, a client's go masked.

/// Largest frame that is taken.
const FRAME_BYTES_MAX: usize = 8 * 1024 * 1024;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

/// In place of a length: it follows in two bytes, or in eight.
const LENGTH_IN_2: u8 = 0x7e;
const LENGTH_IN_8: u8 = 0x7f;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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
pub(crate) struct Frame<'b> {
    pub(crate) kind: Kind,
    pub(crate) payload: &'b [u8],
    /// Bytes that it takes, head included.
    pub(crate) bytes: usize,
}

/// The other end sent something that it should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end sent a frame that {0}")]
pub(crate) struct Violation(&'static str);

/// What stands before a payload.
struct Head {
    kind: Kind,
    is_masked: bool,
    length: usize,
    /// Bytes of the head itself, without a mask.
    bytes: usize,
}

/// `None`: a part of it is still to come.
fn head(bytes: &[u8]) -> Result<Option<Head>, Violation> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & FINAL == 0 {
        return Err(Violation("is a fragment"));
    }
    let kind = [Kind::Binary, Kind::Close, Kind::Ping, Kind::Pong].into_iter().find(|kind| kind.code() == first & 0x7f);
    let kind = kind.ok_or(Violation("is of a kind that we do not know"))?;
    let (length, rest) = match second & !MASKED {
        LENGTH_IN_2 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        LENGTH_IN_8 => match rest.split_first_chunk() {
            Some((length, rest)) => (u64::from_be_bytes(*length), rest),
            None => return Ok(None),
        },
        short => (u64::from(short), rest),
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(Violation("is larger than any that is due"));
    }
    Ok(Some(Head { kind, is_masked: second & MASKED != 0, length, bytes: bytes.len() - rest.len() }))
}

/// A server's frame at the beginning of the bytes; `None`: a part of it is still to come.
pub(crate) fn cut(bytes: &[u8]) -> Result<Option<Frame<'_>>, Violation> {
    let Some(head) = head(bytes)? else { return Ok(None) };
    if head.is_masked {
        return Err(Violation("is masked"));
    }
    let end = head.bytes + head.length;
    Ok(bytes.get(head.bytes..end).map(|payload| Frame { kind: head.kind, payload, bytes: end }))
}

/// The same of a client's frame, whose mask is taken off where it lies.
pub(crate) fn cut_masked(bytes: &mut [u8]) -> Result<Option<Frame<'_>>, Violation> {
    let Some(head) = head(bytes)? else { return Ok(None) };
    if !head.is_masked {
        return Err(Violation("is not masked"));
    }
    let from = head.bytes + 4;
    let end = from + head.length;
    let Some((mask, payload)) = bytes.get_mut(head.bytes..end).and_then(|rest| rest.split_first_chunk_mut::<4>())
    else {
        return Ok(None);
    };
    if *mask != [0; 4] {
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        *mask = [0; 4];
    }
    Ok(Some(Frame { kind: head.kind, payload, bytes: end }))
}

/// Appends a server's frame.
pub(crate) fn put_bare(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    put_head(out, kind, 0, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a client's frame. The mask is zero: it hides nothing, and costs nothing.
pub(crate) fn put(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    put_head(out, kind, MASKED, payload.len());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

fn put_head(out: &mut Vec<u8>, kind: Kind, masked: u8, length: usize) {
    out.push(FINAL | kind.code());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length @ 0..LENGTH_IN_2), _) => out.push(masked | length),
        (_, Ok(length)) => {
            out.push(masked | LENGTH_IN_2);
            out.extend_from_slice(&length.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(masked | LENGTH_IN_8);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// The number and words of a close.
pub(crate) fn closing(payload: &[u8]) -> (Option<u16>, String) {
    match payload.split_first_chunk() {
        Some((number, reason)) => (Some(u16::from_be_bytes(*number)), String::from_utf8_lossy(reason).into_owned()),
        None => (None, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(payload: &[u8]) -> Vec<u8> {
        let mut framed = Vec::new();
        put_bare(&mut framed, Kind::Binary, payload);
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
    fn a_clients_frames_are_cut_with_and_without_a_mask() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let mut bytes = Vec::new();
            put(&mut bytes, Kind::Binary, &payload);
            let whole = bytes.len();
            let mask_at = whole - length - 4;
            bytes[mask_at..mask_at + 4].copy_from_slice(&[1, 2, 3, 4]);
            for (at, byte) in bytes[mask_at + 4..].iter_mut().enumerate() {
                *byte ^= [1, 2, 3, 4][at % 4];
            }
            assert_eq!(cut_masked(&mut bytes[..whole - 1]), Ok(None), "{length}");
            bytes.push(9);
            let frame = Frame { kind: Kind::Binary, payload: &payload, bytes: whole };
            assert_eq!(cut_masked(&mut bytes), Ok(Some(frame)), "{length}");
            // The mask is off: who looks again sees the same.
            assert_eq!(cut_masked(&mut bytes), Ok(Some(frame)), "{length}");
        }
        assert!(cut_masked(&mut bare(b"bare")).is_err());
        // The example of RFC 6455, 5.7, in the kind that we take.
        let mut hello = [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(cut_masked(&mut hello).unwrap().unwrap().payload, b"Hello");
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
    fn what_a_server_never_sends_is_refused() {
        let refused = |bytes: &[u8]| assert!(cut(bytes).is_err(), "{bytes:?}");
        refused(&[0x02, 0x00]);
        refused(&[0x81, 0x00]);
        refused(&[0x82, 0x80, 0, 0, 0, 0]);
        refused(&[0x82, 127, 0xff, 0, 0, 0, 0, 0, 0, 0]);
    }
}
