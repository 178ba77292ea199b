//! Whom the system takes this process for, and which group may use a file: names for messages, not for decisions.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The name of the user that this process runs as; its number where it has none.
pub fn user() -> String {
    let id = rustix::process::geteuid().as_raw();
    named("/etc/passwd", id).unwrap_or_else(|| format!("user {id}"))
}

/// The group that may read and write a file, unless everybody's or the superuser's own.
pub fn group_with_access(path: &Path) -> Option<String> {
    const GROUP_READS_AND_WRITES: u32 = 0o060;
    let metadata = path.metadata().ok()?;
    let is_let_in = metadata.mode() & GROUP_READS_AND_WRITES == GROUP_READS_AND_WRITES;
    if is_let_in && metadata.gid() != 0 { named("/etc/group", metadata.gid()) } else { None }
}

/// The name of a number in a file of lines like `name:x:number:…`.
fn named(file: &str, id: u32) -> Option<String> {
    let lines = std::fs::read_to_string(file).ok()?;
    name_in(&lines, id).map(str::to_owned)
}

fn name_in(lines: &str, id: u32) -> Option<&str> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(id)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_number() {
        let lines = "root:x:0:0:root:/r:/bin/bash\nnonsense\npi:x:1000:1000:,,,:/p:/bin/bash\n";
        assert_eq!((name_in(lines, 1000), name_in(lines, 0), name_in(lines, 7)), (Some("pi"), Some("root"), None));
        assert!(!user().is_empty());
    }
}
