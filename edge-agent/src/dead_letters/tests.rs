//! Dead letters come back as they were kept, within their bounds.

use std::fs::OpenOptions;
use std::io::Write;

use super::store::{Store, files_of};
use super::*;

fn letter(number: usize, input: &[u8]) -> KeptLetter {
    KeptLetter {
        at: Some(UnixMicros(i64::try_from(number).unwrap())),
        source: "meter".to_owned(),
        reason: "checksum".to_owned(),
        detail: format!("letter {number}\nof \"many\""),
        input: Bytes::copy_from_slice(input),
    }
}

#[test]
fn letters_come_back_in_order_whatever_bytes_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let letters = [letter(1, b"/KFM5\r\n!ABCD"), letter(2, &[0, 0xff, 0xfe]), letter(3, b"")];
    let mut store = Store::open(folder.path(), 100_000, 10_000).unwrap();
    letters[..2].iter().for_each(|letter| store.append(letter).unwrap());
    let mut again = Store::open(folder.path(), 100_000, 10_000).unwrap();
    again.append(&letters[2]).unwrap();
    assert_eq!(list(folder.path()).unwrap(), letters);
}

#[test]
fn a_torn_line_is_skipped_and_a_missing_folder_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), 100_000, 10_000).unwrap();
    store.append(&letter(1, b"x")).unwrap();
    let path = files_of(folder.path()).unwrap().remove(0).path;
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"{\"at_us\":7,\"sour").unwrap();
    assert_eq!(list(folder.path()).unwrap(), [letter(1, b"x")]);
    assert_eq!(list(&folder.path().join("none")).unwrap(), []);
}

#[test]
fn the_oldest_letters_make_room_and_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(folder.path(), 8_000, 1_000).unwrap();
    (0..200).for_each(|number| store.append(&letter(number, &[b'x'; 100])).unwrap());
    let bytes: u64 = files_of(folder.path()).unwrap().iter().map(|file| file.bytes).sum();
    assert!((6_000..=8_000).contains(&bytes), "{bytes}");
    let left = list(folder.path()).unwrap();
    assert_eq!(left.last(), Some(&letter(199, &[b'x'; 100])));
    assert!(left.len() < 200 && store.dropped_bytes() > 0);
}

#[test]
fn keeping_never_waits_and_what_is_too_much_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let handle = start(folder.path()).unwrap();
    let refused = (0..1_000_u64)
        .filter(|seq| {
            handle
                .keep_rejected((Epoch(1), Lane::Events, Seq::new(*seq)), "odd", Bytes::from(vec![7; 9_000]), None)
                .is_err()
        })
        .count();
    drop(handle.letters);
    while handle.counters.kept.load(Ordering::Relaxed) + handle.counters.not_kept.load(Ordering::Relaxed) < 1_000 {
        thread::yield_now();
    }
    let left = list(folder.path()).unwrap();
    assert_eq!(left.len(), 50, "the allowance of a burst");
    assert!(refused <= 950);
    assert_eq!(left[0].input.len(), INPUT_BYTES_MAX);
}
