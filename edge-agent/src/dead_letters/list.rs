//! Reads the letters back, also while an agent writes them.

use std::fs;
use std::io;
use std::path::Path;

use super::KeptLetter;
use super::store::{files_of, from_line};

/// All letters in the folder, oldest first; none where there is no folder. At most what
/// [`super::BUDGET_BYTES`] holds.
pub fn list(folder: &Path) -> io::Result<Vec<KeptLetter>> {
    let files = match files_of(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        files => files?,
    };
    let mut letters = Vec::new();
    for file in files {
        match fs::read(&file.path) {
            // What was half written when the agent died is no letter.
            Ok(bytes) => letters.extend(String::from_utf8_lossy(&bytes).lines().filter_map(from_line)),
            // Dropped between the look into the folder and this.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(letters)
}
