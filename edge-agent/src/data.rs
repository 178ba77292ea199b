//! The data folder (`agent.data`): whether this user can keep a queue in it, and what to do where not.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::account;

/// The queue's folder in the data folder.
pub const QUEUE_FOLDER: &str = "queue";

/// The folder of the journal of commands in the data folder.
pub const COMMANDS_FOLDER: &str = "commands";

/// The dead letters' folder in the data folder.
pub const DEAD_LETTERS_FOLDER: &str = "dead-letters";

/// The file of known devices in the data folder.
pub const DEVICES_FILE: &str = "devices";

/// Why nothing can be kept in the data folder.
#[derive(Debug)]
pub struct DataError {
    data: PathBuf,
    /// The folder that is in the way: the data folder, one below it, or one that it would have to be made in.
    path: PathBuf,
    user: String,
    source: io::Error,
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DataError { data, path, user, source } = self;
        // One above it is often of many: only what is missing in it is to be this user's.
        let fix = if path.starts_with(data) {
            format!("make it that user's own (`sudo chown -R {user} {}`)", data.display())
        } else {
            format!("make the folder for that user (`sudo install -d -o {user} {}`)", data.display())
        };
        let path = path.display();
        match source.kind() {
            io::ErrorKind::NotADirectory => {
                write!(f, "agent.data: {path} is no folder; name a folder, which is made where it is missing")
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                write!(f, "agent.data: {path} is on a file system that can only be read; name a folder elsewhere")
            }
            io::ErrorKind::PermissionDenied => {
                write!(f, "agent.data: the user {user} may not write to {path}; {fix}, or name another folder")
            }
            _ => write!(f, "agent.data: the user {user} can't write to {path} ({source}); name another folder"),
        }
    }
}

impl std::error::Error for DataError {}

/// Whether the folder can be used; makes nothing. Only the system's word counts, so it may be wrong a moment later.
pub fn look(data: &Path) -> Result<(), DataError> {
    [QUEUE_FOLDER, COMMANDS_FOLDER, DEAD_LETTERS_FOLDER]
        .iter()
        .try_for_each(|folder| look_for(&data.join(folder), data))
}

/// Makes the folder where it is missing.
pub fn prepare(data: &Path) -> Result<(), DataError> {
    look(data)?;
    std::fs::create_dir_all(data).map_err(|source| failed(data, data, source))
}

/// Looks at the folder, or at the nearest one above it that is there.
fn look_for(folder: &Path, data: &Path) -> Result<(), DataError> {
    let is_there = |path: &&Path| path.symlink_metadata().is_ok();
    let there = folder.ancestors().find(is_there).filter(|path| !path.as_os_str().is_empty());
    let there = there.unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(failed(data, there, io::ErrorKind::NotADirectory.into()));
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| failed(data, there, errno.into()))
}

fn failed(data: &Path, path: &Path, source: io::Error) -> DataError {
    DataError { data: data.to_owned(), path: path.to_owned(), user: account::user(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_can_be_made_is_well_and_a_file_in_its_place_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("a/b");
        look(&data).unwrap();
        assert!(!folder.path().join("a").exists(), "looking makes nothing");
        prepare(&data).unwrap();
        assert!(data.is_dir());
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let told = look(&file.join("data")).unwrap_err().to_string();
        assert_eq!(
            told,
            format!("agent.data: {} is no folder; name a folder, which is made where it is missing", file.display())
        );
    }

    #[test]
    fn who_may_not_write_is_told_the_path_the_user_and_the_fix() {
        let told = |path: &str| {
            let (data, path) = (PathBuf::from("/var/lib/lockgate"), PathBuf::from(path));
            DataError { data, path, user: "pi".to_owned(), source: io::ErrorKind::PermissionDenied.into() }.to_string()
        };
        let own = told("/var/lib/lockgate/queue");
        assert!(own.starts_with("agent.data: the user pi may not write to /var/lib/lockgate/queue;"), "{own}");
        assert!(own.contains("`sudo chown -R pi /var/lib/lockgate`"), "{own}");
        let missing = told("/var/lib");
        assert!(missing.contains("`sudo install -d -o pi /var/lib/lockgate`"), "{missing}");
        assert!(!missing.contains("chown"), "what is others' stays theirs: {missing}");
    }
}
