//! The files of the project, read once per rule.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no source of ours.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "dist"];

/// One text file.
pub(crate) struct SourceFile {
    /// Relative to the root of the project, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    /// Numbered lines, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// Numbered lines before the file's unit tests.
    pub(crate) fn lines_before_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().take_while(|(_, line)| line.trim() != "#[cfg(test)]")
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.is_kind("rs")
    }

    /// By what stands after the last dot of its name.
    pub(crate) fn is_kind(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|own| own == extension)
    }

    /// Whether the file is test code as a whole.
    pub(crate) fn is_test(&self) -> bool {
        let in_test_folder = self.path.split('/').any(|part| matches!(part, "tests" | "benches" | "conformance"));
        in_test_folder || self.path.ends_with("tests.rs")
    }

    pub(crate) fn offence(&self, line: usize, what: impl std::fmt::Display) -> String {
        format!("{}:{line}: {what}", self.path)
    }
}

pub(crate) struct Tree {
    pub(crate) files: Vec<SourceFile>,
}

impl Tree {
    /// Reads every text file below the root; what is not UTF-8 (captures) is no text.
    pub(crate) fn read() -> Tree {
        let mut paths = Vec::new();
        collect(&root(), &mut paths);
        paths.sort();
        let file = |path: PathBuf| {
            let text = fs::read_to_string(&path).ok()?;
            let path = path.strip_prefix(root()).ok()?.to_string_lossy().replace('\\', "/");
            Some(SourceFile { path, text })
        };
        Tree { files: paths.into_iter().filter_map(file).collect() }
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| file.is_rust())
    }

    pub(crate) fn file(&self, path: &str) -> &SourceFile {
        self.files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing"))
    }
}

/// The root of the project.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests live one folder below the root").to_owned()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder that opens can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_symlink() || SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            collect(&path, paths);
        } else {
            paths.push(path);
        }
    }
}
