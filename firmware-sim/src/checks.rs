//! Checksums and COBS as the simulated devices write them: an implementation apart from the one that reads them.

use crc::{CRC_16_ARC, CRC_16_MODBUS, Crc};

const MODBUS: Crc<u16> = Crc::<u16>::new(&CRC_16_MODBUS);
const ARC: Crc<u16> = Crc::<u16>::new(&CRC_16_ARC);

/// CRC-16/MODBUS, as Modbus RTU and our pump use it.
pub fn crc16_modbus(bytes: &[u8]) -> u16 {
    MODBUS.checksum(bytes)
}

/// CRC-16/ARC, as smart meters with a P1 port use it.
pub fn crc16_arc(bytes: &[u8]) -> u16 {
    ARC.checksum(bytes)
}

/// XOR of all bytes, as NMEA 0183 and our thermostat use it.
pub fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum ^ byte)
}

/// COBS without its delimiter: the result holds no zero byte.
pub fn cobs(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 254 + 1);
    let mut rest = bytes;
    loop {
        let run = rest.iter().take(254).position(|&byte| byte == 0);
        let (run, skip) = match run {
            Some(at) => (at, at + 1),
            None => (rest.len().min(254), rest.len().min(254)),
        };
        let ends_in_zero = skip > run;
        out.push(u8::try_from(run + 1).expect("a run is at most 254 bytes"));
        out.extend_from_slice(&rest[..run]);
        rest = &rest[skip..];
        // A zero at the very end asks for one more, empty run; a full run at the end does not.
        if rest.is_empty() && !ends_in_zero {
            return out;
        }
    }
}

/// Undoes [`cobs`]; `None`: that was none.
pub fn uncobs(coded: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(coded.len());
    let mut rest = coded;
    while let Some((&code, tail)) = rest.split_first() {
        let run = usize::from(code).checked_sub(1)?;
        out.extend_from_slice(tail.get(..run)?);
        rest = &tail[run..];
        if run < 254 && !rest.is_empty() {
            out.push(0);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_give_their_published_check_values() {
        assert_eq!(crc16_modbus(b"123456789"), 0x4B37);
        assert_eq!(crc16_arc(b"123456789"), 0xBB3D);
        assert_eq!(xor(b"GPGLL,5300.97914,N,00259.98174,E,125926,A"), 0x28);
    }

    #[test]
    fn cobs_is_undone() {
        let mut random = crate::random::Random::new(3);
        for length in [0, 1, 253, 254, 255, 300, 600] {
            let bytes: Vec<u8> = (0..length).map(|_| random.byte() % 40).collect();
            assert_eq!(uncobs(&cobs(&bytes)), Some(bytes));
        }
        assert_eq!(uncobs(&[5, 1]), None);
    }

    #[test]
    fn cobs_gives_the_examples_of_its_paper() {
        let long: Vec<u8> = (1..=255).collect();
        let full: Vec<u8> = (1..=254).collect();
        assert_eq!(cobs(&[]), [1]);
        assert_eq!(cobs(&[0]), [1, 1]);
        assert_eq!(cobs(&[0, 0]), [1, 1, 1]);
        assert_eq!(cobs(&[0x11, 0x22, 0, 0x33]), [3, 0x11, 0x22, 2, 0x33]);
        assert_eq!(cobs(&[0x11, 0, 0, 0]), [2, 0x11, 1, 1, 1]);
        assert_eq!(cobs(&full), [&[0xFF][..], &full].concat());
        assert_eq!(cobs(&long), [&[0xFF][..], &full, &[2, 0xFF]].concat());
    }
}
