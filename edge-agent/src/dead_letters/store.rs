//! The files: numbered, appended to, the oldest deleted when all of them are too large.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use lockgate_proto::time::UnixMicros;
use serde_json::{Map, Value, json};

use super::KeptLetter;

const SUFFIX: &str = ".jsonl";

pub(super) struct Store {
    folder: PathBuf,
    budget_bytes: u64,
    file_bytes_max: u64,
    current: Option<(u64, File)>,
    current_bytes: u64,
    dropped_bytes: u64,
}

impl Store {
    pub(super) fn open(folder: &Path, budget_bytes: u64, file_bytes_max: u64) -> io::Result<Store> {
        fs::create_dir_all(folder)?;
        let folder = folder.to_owned();
        Ok(Store { folder, budget_bytes, file_bytes_max, current: None, current_bytes: 0, dropped_bytes: 0 })
    }

    pub(super) fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// One write of one line, so that a torn line is at most the last one.
    pub(super) fn append(&mut self, letter: &KeptLetter) -> io::Result<()> {
        let mut line = to_line(letter);
        line.push('\n');
        if self.current_bytes + line.len() as u64 > self.file_bytes_max {
            self.current = None;
        }
        if self.current.is_none() {
            self.begin_file()?;
        }
        if let Some((_, file)) = &mut self.current {
            self.current_bytes += line.len() as u64;
            if let Err(error) = file.write_all(line.as_bytes()) {
                // The line may be torn; the next one must not be glued to it.
                self.current = None;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Each start and each full file begins a new one, after the oldest have made room for it.
    fn begin_file(&mut self) -> io::Result<()> {
        let mut files = files_of(&self.folder)?;
        let number = files.last().map_or(1, |last| last.number + 1);
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        while !files.is_empty() && bytes + self.file_bytes_max > self.budget_bytes {
            let oldest = files.remove(0);
            fs::remove_file(&oldest.path)?;
            bytes -= oldest.bytes;
            self.dropped_bytes += oldest.bytes;
        }
        let path = self.folder.join(format!("{number:08}{SUFFIX}"));
        self.current = Some((number, OpenOptions::new().append(true).create_new(true).open(path)?));
        self.current_bytes = 0;
        Ok(())
    }
}

pub(super) struct NumberedFile {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

/// The files of the folder, oldest first; whatever else lies there is left alone.
pub(super) fn files_of(folder: &Path) -> io::Result<Vec<NumberedFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).and_then(|number| number.parse().ok());
        if let (Some(number), Ok(metadata)) = (number, entry.metadata()) {
            files.push(NumberedFile { number, path: entry.path(), bytes: metadata.len() });
        }
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

/// Input that is text stays readable; other bytes are written as hexadecimal digits.
fn to_line(letter: &KeptLetter) -> String {
    let mut line = Map::new();
    line.insert("at_us".to_owned(), json!(letter.at.map(|at| at.0)));
    line.insert("source".to_owned(), json!(letter.source));
    line.insert("reason".to_owned(), json!(letter.reason));
    line.insert("detail".to_owned(), json!(letter.detail));
    match std::str::from_utf8(&letter.input) {
        Ok(text) => line.insert("input".to_owned(), json!(text)),
        Err(_) => line.insert("input_hex".to_owned(), json!(to_hex(&letter.input))),
    };
    Value::Object(line).to_string()
}

/// `None` for a line that was torn or is of somebody else.
pub(super) fn from_line(line: &str) -> Option<KeptLetter> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
    let input = match text("input") {
        Some(text) => Bytes::from(text),
        None => from_hex(&text("input_hex")?)?,
    };
    let at = line.get("at_us").and_then(Value::as_i64).map(UnixMicros);
    Some(KeptLetter { at, source: text("source")?, reason: text("reason")?, detail: text("detail")?, input })
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

fn from_hex(digits: &str) -> Option<Bytes> {
    let digits: Vec<u8> = digits
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| if let [high, low] = pair { Some(high << 4 | low) } else { None }).collect()
}
