//! The key's file: 32 random bytes in hexadecimal, readable by its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use crate::hex;

pub(crate) const KEY_BYTES: usize = 32;

/// Mode bits of everyone but the owner.
const OTHERS: u32 = 0o077;

/// LIMIT: a key file is one short line; more is another file.
const FILE_BYTES_MAX: u64 = 1024;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file can't be opened or read.
    #[error("cannot read the key file {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file can't be made.
    #[error("cannot create the key file {path:?}: {source}")]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than the owner may read or write the file, so the key may be known to them.
    #[error(
        "the key file {path:?} is open to others (mode {mode:03o}); make it your own with `chmod 600`, \
         or delete it to have a new key made"
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The content is no key.
    #[error("{path:?} is no key file: it must have 64 hexadecimal digits and nothing else")]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("the system has no random numbers")]
    Random,
}

pub(crate) fn load_or_create(path: &Path) -> Result<[u8; KEY_BYTES], KeyError> {
    match load(path) {
        Err(KeyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => create(path),
        loaded => loaded,
    }
}

pub(crate) fn load(path: &Path) -> Result<[u8; KEY_BYTES], KeyError> {
    let failed = |source| KeyError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(KeyError::OpenToOthers { path: path.to_owned(), mode });
    }
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut content).map_err(failed)?;
    let text = std::str::from_utf8(&content).unwrap_or_default();
    hex::decode(text.trim_end()).ok_or_else(|| KeyError::Content { path: path.to_owned() })
}

fn create(path: &Path) -> Result<[u8; KEY_BYTES], KeyError> {
    let random = SystemRandom::new();
    let (mut key, mut mark) = ([0; KEY_BYTES], [0; 8]);
    random.fill(&mut key).and_then(|()| random.fill(&mut mark)).map_err(|_| KeyError::Random)?;
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".new-{}", hex::encode(&mark)));
    let new = PathBuf::from(new);
    let linked = write_and_link(&new, path, &key);
    // What is left over after a failure is only a key that nobody uses.
    let _removed = fs::remove_file(&new);
    match linked {
        Ok(()) => Ok(key),
        // Another process was faster: its key is the one.
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => load(path),
        Err(source) => Err(KeyError::Create { path: path.to_owned(), source }),
    }
}

/// DURABILITY: the content is on disk before the name is; nobody ever sees half a key under it.
fn write_and_link(new: &Path, path: &Path, key: &[u8; KEY_BYTES]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    file.write_all(format!("{}\n", hex::encode(key)).as_bytes())?;
    file.sync_all()?;
    fs::hard_link(new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}
