//! Opens a configuration file: the only I/O of this crate.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// LIMIT: largest configuration file; a device or a wrong file is refused before it fills the memory.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Why a configuration file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there, is no file, or may not be read by this user.
    #[error("cannot read {path:?}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is larger than [`FILE_BYTES_MAX`].
    #[error("{path:?} is larger than {FILE_BYTES_MAX} bytes; is it the right file?")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not UTF-8 text.
    #[error("{path:?} is not UTF-8 text (line {line}); save it as UTF-8")]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first line that is none.
        line: usize,
    },
}

/// The text of a configuration file.
pub fn read(path: &Path) -> Result<String, ReadError> {
    let failed = |source| ReadError::Open { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.split(|byte| *byte == b'\n').count();
        ReadError::NotText { path: path.to_owned(), line }
    })
}

#[cfg(test)]
mod tests {
    use super::{ReadError, read};

    #[test]
    fn a_folder_and_a_missing_file_are_told_apart_from_text() {
        assert!(matches!(read(std::path::Path::new("/")), Err(ReadError::Open { .. })));
        assert!(matches!(read(std::path::Path::new("/nowhere/agent.toml")), Err(ReadError::Open { .. })));
    }

    #[test]
    fn a_file_that_never_ends_is_refused() {
        assert!(matches!(read(std::path::Path::new("/dev/zero")), Err(ReadError::TooLarge { .. })));
    }
}
