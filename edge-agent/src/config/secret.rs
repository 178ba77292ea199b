//! Secrets: written into the configuration, or better into a file of their own.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use lockgate_config::{Item, Table};

/// A token or a password. Never shown, not even in debug output.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// Written into the configuration.
    Text(String),
    /// The content of this file, without the blanks and line ends around it.
    File(PathBuf),
}

/// Why a secret can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file can't be read.
    #[error("cannot read {path:?}: {source}")]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file has nothing in it.
    #[error("{path:?} is empty")]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
}

impl Secret {
    /// The secret itself; a file is read anew each time, so that it can be replaced while we run.
    pub fn reveal(&self) -> Result<String, SecretError> {
        let path = match self {
            Secret::Text(text) => return Ok(text.clone()),
            Secret::File(path) => path,
        };
        let text =
            std::fs::read_to_string(path).map_err(|source| SecretError::ReadFile { path: path.clone(), source })?;
        match text.trim() {
            "" => Err(SecretError::EmptyFile { path: path.clone() }),
            secret => Ok(secret.to_owned()),
        }
    }

    /// The file that it is in, if it is in one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Secret::Text(_) => None,
            Secret::File(path) => Some(path),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Text(_) => f.write_str("Text(…)"),
            Secret::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Reads `key` or `key_file`, of which at most one may be there.
pub(super) fn optional(table: &Table<'_>, key: &str, folder: &Path) -> Option<Secret> {
    let text = table.optional(key, |item| item.text().map(str::to_owned));
    let file_key = format!("{key}_file");
    let file = table.optional(&file_key, Item::file).map(|file| folder.join(file));
    match (text, file) {
        (Some(_), Some(_)) => {
            if let Some(item) = table.item(&file_key) {
                item.problem(format!("stands beside `{key}`"), "keep one of the two");
            }
            None
        }
        (Some(text), None) => Some(Secret::Text(text)),
        (None, Some(file)) => Some(Secret::File(file)),
        (None, None) => None,
    }
}

/// As [`optional`], and notes it where neither is there.
pub(super) fn required(table: &Table<'_>, key: &str, folder: &Path) -> Option<Secret> {
    let secret = optional(table, key, folder);
    let file_key = format!("{key}_file");
    if secret.is_none() && !table.has(key) && !table.has(&file_key) {
        table.missing(&file_key, format!("add `{file_key} = \"…\"`, the file that has the {key} in it"));
    }
    secret
}
