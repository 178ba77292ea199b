//! What framings promise: pieces don't matter, memory is bounded, and a bad frame costs only itself.

use proptest::prelude::*;

use super::{Cut, Framer, Framing, Kind};
use crate::output::DeadLetterReason;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Frame(Vec<u8>),
    Refused(DeadLetterReason),
    Joined(usize),
}

fn lines(start: &str, max: usize) -> Framing {
    Framing { kind: Kind::Lines { start: start.into(), end: b"\n".to_vec(), drop_first: false }, frame_bytes_max: max }
}

fn telegram(max: usize) -> Framing {
    Framing { kind: Kind::Telegram { start: b"/".to_vec(), end: b"!".to_vec() }, frame_bytes_max: max }
}

fn cobs(delimiter: u8, max: usize) -> Framing {
    Framing { kind: Kind::Cobs { delimiter }, frame_bytes_max: max }
}

fn cut(framing: &Framing, pieces: &[&[u8]]) -> Vec<Seen> {
    let mut framer = Framer::new(framing);
    let mut seen = Vec::new();
    let mut sink = |cut: Cut<'_>| {
        seen.push(match cut {
            Cut::Frame(bytes) => Seen::Frame(bytes.to_vec()),
            Cut::Refused { reason, .. } => Seen::Refused(reason),
            Cut::Joined(bytes) => Seen::Joined(bytes),
        });
    };
    for piece in pieces {
        framer.push(piece, &mut sink);
    }
    framer.silence(&mut sink);
    assert!(!framer.is_waiting());
    seen
}

fn frame(text: &str) -> Seen {
    Seen::Frame(text.into())
}

fn encode_cobs(bytes: &[u8], delimiter: u8) -> Vec<u8> {
    let mut coded = Vec::new();
    let mut runs = bytes.split(|byte| *byte == 0).peekable();
    while let Some(run) = runs.next() {
        let mut chunks = run.chunks(254).peekable();
        if run.is_empty() {
            coded.push(1);
        }
        while let Some(chunk) = chunks.next() {
            coded.push(u8::try_from(chunk.len()).unwrap() + 1);
            coded.extend(chunk);
            // A full run takes no zero with it: one that stands there needs a code of its own.
            if chunk.len() == 254 && chunks.peek().is_none() && runs.peek().is_some() {
                coded.push(1);
            }
        }
    }
    coded.iter().map(|byte| byte ^ delimiter).collect()
}

#[test]
fn lines_lose_their_ends_and_blank_ones_are_nothing() {
    assert_eq!(cut(&lines("", 80), &[b"a\r\n\r\n  \nb\n"]), [frame("a"), frame("b")]);
}

#[test]
fn a_line_that_does_not_end_is_refused_at_the_silence() {
    assert_eq!(cut(&lines("", 80), &[b"a\nS S    10"]), [frame("a"), Seen::Refused(DeadLetterReason::FrameIncomplete)]);
}

#[test]
fn a_start_byte_restarts_a_line() {
    assert_eq!(
        cut(&lines("$!", 80), &[b"7,M*5C\r\n$GP,08$GP,09*11\r\nxx\n!AI*00\n"]),
        [
            Seen::Joined(8),
            Seen::Refused(DeadLetterReason::FrameIncomplete),
            frame("$GP,09*11"),
            Seen::Refused(DeadLetterReason::Noise),
            frame("!AI*00"),
        ]
    );
}

#[test]
fn a_line_too_long_is_one_dead_letter_and_the_next_stands() {
    let text = [b"x".repeat(500), b"\nok\n".to_vec()].concat();
    assert_eq!(cut(&lines("", 80), &[&text]), [Seen::Refused(DeadLetterReason::FrameTooLong), frame("ok")]);
    assert_eq!(cut(&lines("", 2), &[b"abc\nok\n"]), [Seen::Refused(DeadLetterReason::FrameTooLong), frame("ok")]);
}

#[test]
fn the_first_line_can_be_left_out() {
    let kind = Kind::Lines { start: Vec::new(), end: b"\n".to_vec(), drop_first: true };
    let framing = Framing { kind, frame_bytes_max: 80 };
    assert_eq!(cut(&framing, &[b".4\n21.4\n"]), [Seen::Joined(2), frame("21.4")]);
}

#[test]
fn a_telegram_inside_a_telegram_restarts_it() {
    assert_eq!(
        cut(&telegram(100), &[b"1(2)\n!9C1E\r\n/A\r\n1(2/B\r\n3(4)\r\n!0000\r\n"]),
        [Seen::Joined(12), Seen::Refused(DeadLetterReason::FrameIncomplete), frame("/B\r\n3(4)\r\n!0000"),]
    );
}

#[test]
fn a_telegram_whose_last_line_break_is_missing_still_counts() {
    assert_eq!(cut(&telegram(100), &[b"/A\n!12/B\n!34"]), [frame("/A\n!12"), frame("/B\n!34")]);
}

#[test]
fn a_telegram_too_long_does_not_take_the_next_one_with_it() {
    let text = [b"/".to_vec(), b"x".repeat(300), b"!\n/B\n!34\n".to_vec()].concat();
    let refused = [DeadLetterReason::FrameTooLong, DeadLetterReason::Noise].map(Seen::Refused);
    assert_eq!(cut(&telegram(100), &[&text]), [&refused[..], &[frame("/B\n!34")]].concat());
}

#[test]
fn cobs_frames_are_decoded() {
    assert_eq!(cut(&cobs(0, 300), &[&[0, 0, 3, 1, 2, 1, 0, 1, 0]]), [Seen::Frame(vec![1, 2, 0]), Seen::Frame(vec![]),]);
    assert_eq!(
        cut(&cobs(0, 300), &[&[9, 1, 0, 2, 7, 0]]),
        [Seen::Refused(DeadLetterReason::FrameMalformed), Seen::Frame(vec![7]),]
    );
    assert_eq!(
        cut(&cobs(0, 4), &[&[9, 1, 1, 1, 1, 1, 1, 0, 2, 7, 0, 5]]),
        [
            Seen::Refused(DeadLetterReason::FrameTooLong),
            Seen::Frame(vec![7]),
            Seen::Refused(DeadLetterReason::FrameIncomplete),
        ]
    );
}

fn framings() -> Vec<Framing> {
    vec![lines("", 24), lines("$", 24), telegram(24), cobs(0, 24), cobs(b'\n', 24)]
}

/// Bytes with many marks among them.
fn noise(max: usize) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![3 => any::<u8>(), 2 => prop::sample::select(b"\r\n/!$\0*".to_vec()), 1 => Just(b'a')];
    prop::collection::vec(byte, 0..max)
}

fn pieces(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

proptest! {
    #[test]
    fn pieces_do_not_matter(bytes in noise(300), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8)) {
        for framing in framings() {
            let whole = cut(&framing, &[&bytes]);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&whole, &cut(&framing, &single));
            let pieces = pieces(&bytes, &cuts);
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(&whole, &cut(&framing, &pieces));
        }
    }

    #[test]
    fn what_is_held_is_bounded(bytes in noise(2000)) {
        for framing in framings() {
            let mut framer = Framer::new(&framing);
            for byte in &bytes {
                framer.push(&[*byte], &mut |_| {});
                let held = match &framer {
                    Framer::Lines(lines) => lines.held(),
                    Framer::Telegram(telegram) => telegram.held(),
                    Framer::Cobs(cobs) => cobs.held(),
                };
                prop_assert!(held <= 24 + super::telegram::TAIL_BYTES_MAX + super::Stray::BYTES_MAX);
            }
        }
    }

    #[test]
    fn good_lines_survive_noise_between_them(noises in prop::collection::vec(noise(60), 1..5)) {
        let mut bytes = Vec::new();
        for noise in &noises {
            bytes.extend(noise);
            bytes.extend(b"\n$good\r\n");
        }
        for framing in [lines("", 24), lines("$", 24)] {
            let good = cut(&framing, &[&bytes]).iter().filter(|seen| **seen == frame("$good")).count();
            prop_assert!(good >= noises.len());
        }
    }

    #[test]
    fn good_telegrams_survive_any_noise_between_them(noises in prop::collection::vec(noise(60), 1..5)) {
        let mut bytes = Vec::new();
        for noise in &noises {
            bytes.extend(noise);
            bytes.extend(b"/A\r\n1(2)\r\n!BEEF\r\n");
        }
        let good = cut(&telegram(24), &[&bytes]).iter().filter(|seen| **seen == frame("/A\r\n1(2)\r\n!BEEF")).count();
        prop_assert_eq!(good, noises.len());
    }

    #[test]
    fn any_frame_comes_back_through_cobs_and_noise(
        frames in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0), any::<u8>()], 1..600), 1..4),
        noise in noise(60),
        delimiter: u8,
    ) {
        let mut bytes = noise;
        for frame in &frames {
            bytes.push(delimiter);
            bytes.extend(encode_cobs(frame, delimiter));
            bytes.push(delimiter);
        }
        let seen = cut(&cobs(delimiter, 700), &[&bytes]);
        let expected: Vec<Seen> = frames.iter().cloned().map(Seen::Frame).collect();
        prop_assert!(seen.ends_with(&expected), "{:?}", seen);
    }
}
