//! Rules about documents and about what no file may name.

use crate::tree::{SourceFile, Tree, root};

/// A clone must build anywhere: no path of one machine, and no host of a registry outside lock files.
pub(crate) fn names_no_machine(tree: &Tree) -> Vec<String> {
    let marks: Vec<String> =
        [("/ro", "ot/"), ("/ho", "me/"), ("/wo", "rk/"), ("crates", ".io/"), ("registry.", "npmjs"), ("pypi", ".org")]
            .map(|(head, tail)| format!("{head}{tail}"))
            .to_vec();
    let exempt = |file: &&SourceFile| !file.is_kind("lock") && !file.path.ends_with("package-lock.json");
    let mut offences = Vec::new();
    for file in tree.files.iter().filter(exempt) {
        for (line, text) in file.lines() {
            offences.extend(
                marks
                    .iter()
                    .filter(|mark| text.contains(*mark))
                    .map(|mark| file.offence(line, format_args!("names `{mark}`"))),
            );
        }
    }
    for file in tree.files.iter().filter(|file| file.path.ends_with("package-lock.json")) {
        let named = file.lines().filter(|(_, text)| text.contains("\"resolved\": \"http"));
        offences.extend(
            named.map(|(line, _)| file.offence(line, "a download address; set omit-lockfile-registry-resolved")),
        );
    }
    offences
}

/// Relative links of Markdown files lead to files that exist.
pub(crate) fn links_resolve(tree: &Tree) -> Vec<String> {
    let mut offences = Vec::new();
    for file in tree.files.iter().filter(|file| file.is_kind("md")) {
        let folder = root().join(&file.path).parent().map(ToOwned::to_owned).unwrap_or_default();
        for (line, text) in file.lines() {
            for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = link.split('#').next().unwrap_or_default();
                if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                if !folder.join(target).exists() {
                    offences.push(file.offence(line, format_args!("the link to {target} leads nowhere")));
                }
            }
        }
    }
    offences
}

/// A map with a missing country is worse than none.
pub(crate) fn architecture_is_complete(tree: &Tree) -> Vec<String> {
    let map = tree.file("docs/architecture.md");
    let manifest = tree.file("Cargo.toml");
    let members =
        manifest.text.lines().skip_while(|line| *line != "members = [").skip(1).take_while(|line| *line != "]");
    members
        .map(|line| line.trim().trim_matches([',', '"']))
        .filter(|member| !map.text.contains(&format!("`{member}/`")))
        .map(|member| map.offence(1, format_args!("say what `{member}/` is")))
        .collect()
}

/// Who can set something has to be told so, in one place.
pub(crate) fn variables_are_told(tree: &Tree) -> Vec<String> {
    let readme = tree.file("README.md");
    let in_names = |character: char| character.is_ascii_uppercase() || character == '_';
    let mut offences = Vec::new();
    for file in tree.rust().filter(|file| file.path.contains("/src/") && !file.is_test()) {
        for (line, text) in file.lines_before_tests() {
            let quoted = text.split('"').skip(1).step_by(2);
            for name in quoted.filter(|text| text.starts_with("LOCKGATE_") && text.chars().all(in_names)) {
                if !readme.text.contains(&format!("`{name}`")) {
                    offences.push(file.offence(line, format_args!("README.md does not tell of `{name}`")));
                }
            }
        }
    }
    offences
}
