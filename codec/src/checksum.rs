//! Checksums: which family, what it covers, where it stands and how it is written.

use crc::{CRC_16_ARC, CRC_16_IBM_3740, CRC_16_IBM_SDLC, CRC_16_MODBUS, CRC_16_XMODEM, Crc};

const ARC: Crc<u16> = Crc::<u16>::new(&CRC_16_ARC);
const MODBUS: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);
const X25: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_SDLC);
const CCITT: Crc<u16> = Crc::<u16>::new(&CRC_16_IBM_3740);
const XMODEM: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// How the sum is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// All bytes combined by exclusive or.
    Xor,
    /// Polynomial 0x8005 reflected, from 0.
    Crc16Arc,
    /// Polynomial 0x8005 reflected, from 0xFFFF.
    Crc16Modbus,
    /// Polynomial 0x1021 reflected, from 0xFFFF, inverted.
    Crc16X25,
    /// Polynomial 0x1021, from 0xFFFF.
    Crc16Ccitt,
    /// Polynomial 0x1021, from 0.
    Crc16Xmodem,
}

impl Family {
    /// Names in a profile.
    pub(crate) const WORDS: [(&str, Family); 6] = [
        ("xor", Family::Xor),
        ("crc16-arc", Family::Crc16Arc),
        ("crc16-modbus", Family::Crc16Modbus),
        ("crc16-x25", Family::Crc16X25),
        ("crc16-ccitt", Family::Crc16Ccitt),
        ("crc16-xmodem", Family::Crc16Xmodem),
    ];

    /// Bytes that the sum takes.
    pub(crate) fn width(self) -> usize {
        if self == Family::Xor { 1 } else { 2 }
    }

    pub(crate) fn sum(self, bytes: &[u8]) -> u16 {
        match self {
            Family::Xor => u16::from(bytes.iter().fold(0, |sum, byte| sum ^ byte)),
            Family::Crc16Arc => ARC.checksum(bytes),
            Family::Crc16Modbus => MODBUS.checksum(bytes),
            Family::Crc16X25 => X25.checksum(bytes),
            Family::Crc16Ccitt => CCITT.checksum(bytes),
            Family::Crc16Xmodem => XMODEM.checksum(bytes),
        }
    }
}

/// How the sum is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// Hex digits of either case.
    Hex,
    /// Hex digits, upper case only.
    HexUpper,
    /// Hex digits, lower case only.
    HexLower,
    /// Bytes, high one first.
    BigEndian,
    /// Bytes, low one first.
    LittleEndian,
}

impl Written {
    /// Names in a profile.
    pub(crate) const WORDS: [(&str, Written); 5] = [
        ("hex", Written::Hex),
        ("hex-upper", Written::HexUpper),
        ("hex-lower", Written::HexLower),
        ("big-endian", Written::BigEndian),
        ("little-endian", Written::LittleEndian),
    ];

    fn is_text(self) -> bool {
        matches!(self, Written::Hex | Written::HexUpper | Written::HexLower)
    }

    /// Bytes that a sum of so many bytes takes when written.
    fn width(self, bytes: usize) -> usize {
        if self.is_text() { bytes * 2 } else { bytes }
    }

    /// Appends a sum of so many bytes.
    fn put(self, sum: u16, width: usize, out: &mut Vec<u8>) {
        let [high, low] = sum.to_be_bytes();
        let (big, little) = ([high, low], [low, high]);
        match self {
            Written::Hex | Written::HexUpper => out.extend(format!("{sum:0digits$X}", digits = width * 2).bytes()),
            Written::HexLower => out.extend(format!("{sum:0digits$x}", digits = width * 2).bytes()),
            Written::BigEndian => out.extend_from_slice(&big[2 - width..]),
            Written::LittleEndian => out.extend_from_slice(&little[..width]),
        }
    }

    fn read(self, text: &[u8]) -> Option<u16> {
        let digit = |value: u16, byte: &u8| -> Option<u16> {
            let allowed = match self {
                Written::HexUpper => !byte.is_ascii_lowercase(),
                Written::HexLower => !byte.is_ascii_uppercase(),
                Written::Hex | Written::BigEndian | Written::LittleEndian => true,
            };
            let digit = char::from(*byte).to_digit(16).filter(|_| allowed)?;
            Some(value << 4 | u16::try_from(digit).ok()?)
        };
        match self {
            Written::Hex | Written::HexUpper | Written::HexLower => text.iter().try_fold(0, digit),
            Written::BigEndian => Some(text.iter().fold(0, |value, byte| value << 8 | u16::from(*byte))),
            Written::LittleEndian => Some(text.iter().rev().fold(0, |value, byte| value << 8 | u16::from(*byte))),
        }
    }
}

/// What guards a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checksum {
    pub(crate) family: Family,
    pub(crate) written: Written,
    /// It stands behind the last of these; empty: at the end of the frame.
    pub(crate) after: Vec<u8>,
    /// Whether the sum covers the mark too.
    pub(crate) covers_mark: bool,
    /// Leading bytes that the sum leaves out.
    pub(crate) skip: usize,
    /// Whether a frame without one passes.
    pub(crate) optional: bool,
}

/// Why a frame is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChecksumError {
    /// It is not where it should be, or not written as it should be.
    #[error("no checksum where it should stand")]
    Missing,
    /// It is another one.
    #[error("checksum says {says:0width$X} where the bytes give {gives:0width$X}", width = width)]
    Differs { says: u16, gives: u16, width: usize },
}

impl Checksum {
    /// The frame without its checksum and the mark before it, if the sum is right.
    pub(crate) fn prove<'f>(&self, frame: &'f [u8]) -> Result<&'f [u8], ChecksumError> {
        let Some((body, covered, text)) = self.split(frame) else {
            return if self.optional { Ok(frame) } else { Err(ChecksumError::Missing) };
        };
        let width = self.written.width(self.family.width());
        let text = if self.written.is_text() { text.trim_ascii_end() } else { text };
        if self.optional && text.is_empty() {
            return Ok(body);
        }
        let says = if text.len() == width { self.written.read(text) } else { None };
        let says = says.ok_or(ChecksumError::Missing)?;
        let gives = self.family.sum(covered.get(self.skip..).unwrap_or_default());
        if says == gives {
            return Ok(body);
        }
        Err(ChecksumError::Differs { says, gives, width: self.family.width() * 2 })
    }

    /// The frame with the mark and its checksum behind it: what [`Checksum::prove`] proves.
    pub(crate) fn guard(&self, mut body: Vec<u8>) -> Vec<u8> {
        let bare = body.len();
        body.extend_from_slice(&self.after);
        let covered = if self.covers_mark { &body[..] } else { &body[..bare] };
        let sum = self.family.sum(covered.get(self.skip..).unwrap_or_default());
        self.written.put(sum, self.family.width(), &mut body);
        body
    }

    /// (what the frame says, what the sum covers, the checksum as written).
    fn split<'f>(&self, frame: &'f [u8]) -> Option<(&'f [u8], &'f [u8], &'f [u8])> {
        if self.after.is_empty() {
            let frame = if self.written.is_text() { frame.trim_ascii_end() } else { frame };
            let at = frame.len().checked_sub(self.written.width(self.family.width()))?;
            return Some((&frame[..at], &frame[..at], &frame[at..]));
        }
        let at = frame.windows(self.after.len()).rposition(|window| window == self.after)?;
        let behind = at + self.after.len();
        let covered = if self.covers_mark { &frame[..behind] } else { &frame[..at] };
        Some((&frame[..at], covered, &frame[behind..]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Checksum, ChecksumError, Family, Written};

    fn behind(family: Family, written: Written, mark: &str, covers_mark: bool) -> Checksum {
        Checksum { family, written, after: mark.into(), covers_mark, skip: 0, optional: false }
    }

    #[test]
    fn the_families_give_what_their_catalogue_says() {
        let digits = b"123456789";
        let sums = Family::WORDS.map(|(_, family)| family.sum(digits));
        assert_eq!(sums, [0x31, 0xBB3D, 0x4B37, 0x906E, 0x29B1, 0x31C3]);
    }

    #[test]
    fn a_checksum_behind_a_mark_is_proven() {
        let nmea = Checksum { skip: 1, ..behind(Family::Xor, Written::Hex, "*", false) };
        assert_eq!(nmea.prove(b"$GPGLL,1*64"), Err(ChecksumError::Differs { says: 0x64, gives: 0x4D, width: 2 }));
        assert_eq!(nmea.prove(b"$GPGLL,1*4d\r\n"), Ok(&b"$GPGLL,1"[..]));
        assert_eq!(nmea.prove(b"$GPGLL,1"), Err(ChecksumError::Missing));
        assert_eq!(nmea.prove(b"$GPGLL,1*5"), Err(ChecksumError::Missing));
        assert_eq!(nmea.prove(b"$GPGLL,1*5g"), Err(ChecksumError::Missing));
        assert_eq!(nmea.prove(b"*00"), Ok(&b""[..]));
    }

    #[test]
    fn a_binary_checksum_at_the_end_is_proven() {
        let modbus = behind(Family::Crc16Modbus, Written::LittleEndian, "", false);
        assert_eq!(modbus.prove(&[0x02, 0x02, 0x01, 0x15, 0x60, 0x03]), Ok(&[0x02, 0x02, 0x01, 0x15][..]));
        assert_eq!(modbus.prove(&[0x60]), Err(ChecksumError::Missing));
    }

    #[test]
    fn an_optional_checksum_may_be_missing_but_not_wrong() {
        let optional = Checksum { optional: true, ..behind(Family::Crc16Arc, Written::HexUpper, "!", true) };
        assert_eq!(optional.prove(b"/a!"), Ok(&b"/a"[..]));
        assert_eq!(optional.prove(b"/a"), Ok(&b"/a"[..]));
        assert!(matches!(optional.prove(b"/a!0000"), Err(ChecksumError::Differs { .. })));
        assert_eq!(optional.prove(b"/a!zz"), Err(ChecksumError::Missing));
    }

    proptest! {
        #[test]
        fn no_frame_breaks_it_and_one_flipped_bit_is_found(
            body in prop::collection::vec(any::<u8>(), 1..40),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            for (_, family) in Family::WORDS {
                for (_, written) in Written::WORDS {
                    let at_end = behind(family, written, "", false);
                    let marked = behind(family, written, "*", true);
                    prop_assert!(body.contains(&b'*') || marked.prove(&body).is_err());
                    let sum = family.sum(&body);
                    let [high, low] = sum.to_be_bytes();
                    let mut frame = body.clone();
                    match (written, family.width()) {
                        (Written::HexLower, width) => frame.extend(format!("{sum:0width$x}", width = width * 2).bytes()),
                        (Written::Hex | Written::HexUpper, width) => {
                            frame.extend(format!("{sum:0width$X}", width = width * 2).bytes());
                        }
                        (_, 1) => frame.push(low),
                        (Written::BigEndian, _) => frame.extend([high, low]),
                        (Written::LittleEndian, _) => frame.extend([low, high]),
                    }
                    prop_assert_eq!(at_end.prove(&frame), Ok(&body[..]));
                    let at = at.index(body.len());
                    frame[at] ^= 1 << bit;
                    prop_assert!(at_end.prove(&frame).is_err());
                }
            }
        }
    }
}
