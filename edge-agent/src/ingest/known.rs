//! The file of known devices: a source and a device a line, tab between them.
//!
//! Not synced, and nothing rests on it: where it is lost or torn, devices that fell silent while no agent ran stay as
//! they were told last, until they are heard again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockgate_proto::ids::DeviceName;
use tracing::{debug, warn};

use super::vigil_logic::DEVICES_MAX;

/// The most that such a file can have: a line is two names.
const BYTES_MAX: u64 = DEVICES_MAX as u64 * 1024;

type Known = Vec<(Arc<str>, DeviceName)>;

/// What the file has, and where it is.
#[derive(Debug)]
pub(super) struct KnownDevices {
    file: PathBuf,
    devices: Known,
}

impl KnownDevices {
    /// A file that is not there or can't be read tells of no device.
    pub(super) fn read(file: PathBuf) -> KnownDevices {
        let devices = match read(&file) {
            Ok(text) => devices(&text),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    warn!(file = %file.display(), %error, "Which devices were there the last time is not known.");
                }
                Known::new()
            }
        };
        KnownDevices { file, devices }
    }

    pub(super) fn devices(&self) -> &[(Arc<str>, DeviceName)] {
        &self.devices
    }

    /// Writes it anew, if that changes it. Says whether anything was written, or tried to be.
    pub(super) async fn write(&mut self, devices: Known) -> bool {
        if self.devices == devices {
            return false;
        }
        let lines = devices.iter().map(|(source, device)| format!("{source}\t{device}\n"));
        let (text, file) = (lines.collect::<String>(), self.file.clone());
        self.devices = devices;
        match tokio::task::spawn_blocking(move || replace(&file, &text)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(file = %self.file.display(), %error, "Known devices are not written down."),
            Err(error) => debug!(%error, "Known devices are not written down."),
        }
        true
    }
}

fn read(file: &Path) -> io::Result<String> {
    if fs::metadata(file)?.len() > BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is too large"));
    }
    fs::read_to_string(file)
}

/// Lines that can't be used are left out.
fn devices(text: &str) -> Known {
    let device = |line: &str| {
        let (source, device) = line.split_once('\t')?;
        Some((source.into(), DeviceName::new(device).ok()?))
    };
    text.lines().filter_map(device).take(DEVICES_MAX).collect()
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read_and_what_is_torn_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("devices");
        let mut known = KnownDevices::read(file.clone());
        assert!(known.devices().is_empty());
        let devices: Known = ["a door", "tür/2"].map(|name| ("zigbee".into(), DeviceName::new(name).unwrap())).into();
        assert!(known.write(devices.clone()).await);
        assert!(!known.write(devices.clone()).await, "there is nothing new");
        assert_eq!(KnownDevices::read(file.clone()).devices(), devices);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("no tab\nzigbee\t\n{text}zigb")).unwrap();
        assert_eq!(KnownDevices::read(file.clone()).devices(), devices);
        fs::write(&file, [0xff; 8]).unwrap();
        assert!(KnownDevices::read(file).devices().is_empty());
    }
}
