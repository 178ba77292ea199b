//! The data folder (`agent.data`): whether this user can keep a queue in it, and what to do where not.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::account;

/// The queue's folder in the data folder.
pub const QUEUE_FOLDER: &str = "queue";

/// The dead letters' folder in the data folder.
pub const DEAD_LETTERS_FOLDER: &str = "dead-letters";

/// Why nothing can be kept in the data folder.
#[derive(Debug)]
pub struct DataError {
    /// The folder that is in the way: the data folder, one below it, or one that it would have to be made in.
    path: PathBuf,
    user: String,
    source: io::Error,
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DataError { path, user, source } = self;
        let path = path.display();
        match source.kind() {
            io::ErrorKind::NotADirectory => {
                write!(f, "agent.data: {path} is no folder; name a folder, which is made where it is missing")
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                write!(f, "agent.data: {path} is on a file system that can only be read; name a folder elsewhere")
            }
            io::ErrorKind::PermissionDenied => write!(
                f,
                "agent.data: the user {user} may not write to {path}; make it that user's own (`sudo chown -R {user} \
                 {path}`), or name another folder"
            ),
            _ => write!(f, "agent.data: the user {user} can't write to {path} ({source}); name another folder"),
        }
    }
}

impl std::error::Error for DataError {}

/// Whether the folder can be used; makes nothing. Only the system's word counts, so it may be wrong a moment later.
pub fn look(data: &Path) -> Result<(), DataError> {
    [QUEUE_FOLDER, DEAD_LETTERS_FOLDER].iter().try_for_each(|folder| look_into(&data.join(folder)))
}

/// Makes the folder where it is missing.
pub fn prepare(data: &Path) -> Result<(), DataError> {
    look(data)?;
    std::fs::create_dir_all(data).map_err(|source| failed(data, source))
}

/// Looks at the folder, or at the nearest one above it that is there.
fn look_into(folder: &Path) -> Result<(), DataError> {
    let is_there = |path: &&Path| path.symlink_metadata().is_ok();
    let there = folder.ancestors().find(is_there).filter(|path| !path.as_os_str().is_empty());
    let there = there.unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Err(failed(there, io::ErrorKind::NotADirectory.into()));
    }
    access(there, Access::WRITE_OK | Access::EXEC_OK).map_err(|errno| failed(there, errno.into()))
}

fn failed(path: &Path, source: io::Error) -> DataError {
    DataError { path: path.to_owned(), user: account::user(), source }
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
        let (path, source) = (PathBuf::from("/var/lib/lockgate"), io::ErrorKind::PermissionDenied.into());
        let told = DataError { path, user: "pi".to_owned(), source }.to_string();
        assert!(told.contains("the user pi may not write to /var/lib/lockgate;"), "{told}");
        assert!(told.contains("`sudo chown -R pi /var/lib/lockgate`"), "{told}");
    }
}
