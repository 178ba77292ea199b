//! What proves a record, and what becomes of a file that is cut or spoilt.

use lockgate_proto::command::{BootId, Command, CommandId, Fields, JournalId, JournalStep, Outcome, Phase, Priority};
use lockgate_proto::ids::{CommandName, DeviceName, UserName};
use lockgate_proto::time::UnixMicros;

use super::*;

const SALT: u64 = 0x0123_4567_89ab_cdef;

fn records() -> Vec<JournalRecord> {
    let id = CommandId::new("c").unwrap();
    let command = Command {
        id: id.clone(),
        device: DeviceName::new("pump").unwrap(),
        name: CommandName::new("start").unwrap(),
        arguments: Fields::default(),
        idempotent: false,
        priority: Priority::Normal,
        deadline: UnixMicros(5),
        sender: UserName::new("ada").unwrap(),
    };
    let steps = [
        JournalStep::Arrived { command, boot: BootId(1) },
        JournalStep::Moved { id: id.clone(), phase: Phase::Executing },
        JournalStep::Moved { id, phase: Phase::Ended(Outcome::Succeeded(Fields::default())) },
    ];
    let opened = JournalRecord::Opened { id: JournalId(9), length: 0, forgotten: 0 };
    let steps = steps.into_iter().zip(1..).map(|(step, position)| JournalRecord::Step { position, step });
    std::iter::once(opened).chain(steps).collect()
}

/// A whole file, and where each of its records ends.
fn file() -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut ends) = (head(SALT), Vec::new());
    for record in records() {
        let offset = bytes.len();
        put(SALT, offset, &[record], &mut bytes);
        ends.push(bytes.len());
    }
    (bytes, ends)
}

#[test]
fn the_layout_stays_as_it_is() {
    let (bytes, ends) = file();
    assert_eq!(&bytes[..8], b"LGJOURN\x01");
    assert_eq!((ends[0], crc32fast::hash(&bytes)), (39, GOLDEN));
}

/// Of the file above. Another one means another version.
const GOLDEN: u32 = 1_194_252_089;

#[test]
fn a_file_cut_anywhere_is_what_was_whole_before_the_cut() {
    let (bytes, ends) = file();
    for length in 0..=bytes.len() {
        let whole = ends.iter().filter(|end| **end <= length).count();
        let found = read(&Bytes::copy_from_slice(&bytes[..length]));
        if length < HEADER_BYTES {
            assert_eq!(found, Err(LayoutError::Head), "{length}");
        } else if whole == 0 {
            assert!(matches!(found, Err(LayoutError::Contradiction(_))), "{length}: {found:?}");
        } else {
            let journal = Journal::replay(records().into_iter().take(whole)).unwrap();
            assert_eq!(found, Ok(Found { journal, torn_bytes: length - ends[whole - 1] }), "{length}");
        }
    }
}

#[test]
fn a_bit_that_flips_is_seen_and_no_record_behind_it_is_passed_over() {
    let (bytes, ends) = file();
    let last = ends[ends.len() - 2];
    for bit in 0..bytes.len() * 8 {
        let mut spoilt = bytes.clone();
        spoilt[bit / 8] ^= 1 << (bit % 8);
        let found = read(&spoilt.into());
        match bit / 8 {
            // Nothing stands behind the last one: it can't be told from one that was cut off.
            at if at >= last => {
                let journal = Journal::replay(records().into_iter().take(ends.len() - 1)).unwrap();
                assert_eq!(found, Ok(Found { journal, torn_bytes: bytes.len() - last }), "{bit}");
            }
            at if at < HEADER_BYTES => assert_eq!(found, Err(LayoutError::Head), "{bit}"),
            at => {
                let offset = ends.iter().copied().filter(|end| *end <= at).max().unwrap_or(HEADER_BYTES);
                assert_eq!(found, Err(LayoutError::Spoilt { offset }), "{bit}");
            }
        }
    }
}

#[test]
fn bytes_of_another_file_prove_nothing() {
    let mut bytes = head(SALT);
    put(SALT, bytes.len(), &records()[..1], &mut bytes);
    let end = bytes.len();
    put(SALT + 1, end, &records()[1..], &mut bytes);
    let found = read(&bytes.clone().into()).unwrap();
    assert_eq!((found.journal.length(), found.torn_bytes), (0, bytes.len() - end));
}
