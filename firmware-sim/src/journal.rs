//! What the devices said, as JSON lines: written by one task, so that the files of a run never interleave.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::device::Sample;
use crate::duty::Told;
use crate::hearing::Verdict;

/// Lines that may wait for the writer; devices wait when it is full, so that no line is left out.
const JOURNAL_LINES_MAX: usize = 1024;

/// One line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// A sample was taken. Comes before all else that is said of it.
    Produced {
        /// The device's name.
        device: Arc<str>,
        /// The sample's number.
        n: u64,
        /// True time, whatever the device believes.
        at: Timestamp,
        /// How it travels.
        via: Via,
        /// Set where a fault made it unreadable: see [`crate::faults::Spoiled`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spoiled: Option<Arc<str>>,
    },
    /// What became of a sample; at most one for each.
    Verdict {
        /// The device's name.
        device: Arc<str>,
        /// The sample's number.
        n: u64,
        /// See the crate's documentation.
        verdict: VerdictWord,
    },
    /// The device has acted on an order, or has begun to.
    Executed {
        /// The device's name.
        device: Arc<str>,
        /// The id of the command.
        command: Arc<str>,
        /// What it was told.
        what: Arc<str>,
        /// True time.
        at: Timestamp,
    },
    /// The device sent the sample once more, because the broker never confirmed the first copy.
    Repeated {
        /// The device's name.
        device: Arc<str>,
        /// The sample's number.
        n: u64,
    },
}

/// How a sample travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Over a pseudo-terminal.
    Serial,
    /// Over an MQTT broker.
    Mqtt,
}

/// A [`Verdict`] as the journal spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictWord {
    /// See [`Verdict::Heard`].
    Heard,
    /// See [`Verdict::Unheard`].
    Unheard,
    /// See [`Verdict::Cut`].
    Cut,
}

impl From<Verdict> for VerdictWord {
    fn from(verdict: Verdict) -> VerdictWord {
        match verdict {
            Verdict::Heard => VerdictWord::Heard,
            Verdict::Unheard => VerdictWord::Unheard,
            Verdict::Cut => VerdictWord::Cut,
        }
    }
}

/// The journal cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// At start: no such folder, no permission, no room.
    #[error("cannot create journal {path:?}")]
    Create {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// In mid-run: disk full or gone.
    #[error("cannot write journal {path:?}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The writer has ended, which it does early only after a write error.
    #[error("the journal's writer has ended")]
    Ended,
}

/// A device's way to the journal.
#[derive(Clone, Debug)]
pub struct JournalHandle {
    lines: mpsc::Sender<Line>,
}

impl JournalHandle {
    /// Notes that `device` took `sample` at `at`.
    pub async fn produced(
        &self,
        device: &Arc<str>,
        sample: Sample,
        at: Timestamp,
        via: Via,
    ) -> Result<(), JournalError> {
        let spoiled = sample.spoiled.map(|spoiled| Arc::from(spoiled.as_str()));
        self.write(Line::Produced { device: device.clone(), n: sample.n, at, via, spoiled }).await
    }

    /// Notes what became of a sample.
    pub async fn verdict(&self, device: &Arc<str>, n: u64, verdict: Verdict) -> Result<(), JournalError> {
        self.write(Line::Verdict { device: device.clone(), n, verdict: verdict.into() }).await
    }

    /// Notes that a sample was sent once more.
    pub async fn repeated(&self, device: &Arc<str>, n: u64) -> Result<(), JournalError> {
        self.write(Line::Repeated { device: device.clone(), n }).await
    }

    /// Notes that a device has acted on an order.
    pub async fn executed(&self, device: &Arc<str>, told: &Told, at: Timestamp) -> Result<(), JournalError> {
        let (command, what) = (told.command.as_str().into(), told.what.as_str().into());
        self.write(Line::Executed { device: device.clone(), command, what, at }).await
    }

    async fn write(&self, line: Line) -> Result<(), JournalError> {
        self.lines.send(line).await.map_err(|_| JournalError::Ended)
    }
}

/// The writer's end. With no path the lines go nowhere.
#[derive(Debug)]
pub struct JournalWriter {
    lines: mpsc::Receiver<Line>,
    file: Option<(PathBuf, BufWriter<File>)>,
}

/// Creates the journal, replacing an older file at `path`.
pub fn create(path: Option<&Path>) -> Result<(JournalHandle, JournalWriter), JournalError> {
    let file = path
        .map(|path| match File::create(path) {
            Ok(file) => Ok((path.to_owned(), BufWriter::new(file))),
            Err(source) => Err(JournalError::Create { path: path.to_owned(), source }),
        })
        .transpose()?;
    let (sender, lines) = mpsc::channel(JOURNAL_LINES_MAX);
    Ok((JournalHandle { lines: sender }, JournalWriter { lines, file }))
}

impl JournalWriter {
    /// Writes until the last handle is dropped. A reader of the file sees each line within moments.
    pub async fn run(mut self) -> Result<(), JournalError> {
        let mut batch = Vec::new();
        while self.lines.recv_many(&mut batch, JOURNAL_LINES_MAX).await > 0 {
            let Some((path, file)) = &mut self.file else {
                batch.clear();
                continue;
            };
            let written = batch.drain(..).try_for_each(|line| {
                serde_json::to_writer(&mut *file, &line).map_err(io::Error::from)?;
                file.write_all(b"\n")
            });
            written.and_then(|()| file.flush()).map_err(|source| JournalError::Write { path: path.clone(), source })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_as_documented() {
        let at: Timestamp = "2025-05-20T07:00:00.25Z".parse().unwrap();
        let produced = Line::Produced { device: "pump-1".into(), n: 7, at, via: Via::Serial, spoiled: None };
        let verdict = Line::Verdict { device: "pump-1".into(), n: 7, verdict: VerdictWord::Cut };
        assert_eq!(
            serde_json::to_string(&produced).unwrap(),
            r#"{"kind":"produced","device":"pump-1","n":7,"at":"2025-05-20T07:00:00.25Z","via":"serial"}"#
        );
        assert_eq!(
            serde_json::to_string(&verdict).unwrap(),
            r#"{"kind":"verdict","device":"pump-1","n":7,"verdict":"cut"}"#
        );
    }

    #[tokio::test]
    async fn every_line_is_on_disk_when_the_writer_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let (handle, writer) = create(Some(&path)).unwrap();
        let device: Arc<str> = "room-1".into();
        let feed = async move {
            for n in 1..=3000 {
                handle.verdict(&device, n, Verdict::Heard).await.unwrap();
            }
        };
        let ((), written) = tokio::join!(feed, writer.run());
        written.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3000);
    }
}
