//! `dead-letters`: the input that could not be used, oldest first.

use std::io::Write as _;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::output::hex;
use super::{CliError, DataArg};
use crate::data::DEAD_LETTERS_FOLDER;
use crate::dead_letters::{KeptLetter, list};
use crate::time::iso;

/// Of an input, so many characters are shown to people; --json has all that was kept.
const SHOWN_CHARS_MAX: usize = 160;

#[derive(Debug, Args)]
pub(super) struct DeadLettersArgs {
    #[command(flatten)]
    data: DataArg,
    /// One JSON object a line: at, source, reason, detail, and the input as text or in hex.
    #[arg(long)]
    json: bool,
    /// Only those of this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

pub(super) fn run(args: &DeadLettersArgs) -> Result<(), CliError> {
    let folder = args.data.folder()?.join(DEAD_LETTERS_FOLDER);
    let mut letters = list(&folder).with_context(|| format!("the dead letters in {}", folder.display()))?;
    letters.retain(|letter| args.source.as_ref().is_none_or(|source| *source == letter.source));
    let mut out = std::io::BufWriter::new(anstream::stdout());
    for letter in &letters {
        let line = if args.json { as_json(letter) } else { as_text(letter) };
        writeln!(out, "{line}")?;
    }
    if letters.is_empty() && !args.json {
        writeln!(out, "There are no dead letters.")?;
    }
    out.flush()?;
    Ok(())
}

fn as_json(letter: &KeptLetter) -> String {
    let (key, input) = match std::str::from_utf8(&letter.input) {
        Ok(text) => ("input", text.to_owned()),
        Err(_) => ("input_hex", hex(&letter.input)),
    };
    let (source, reason, detail) = (&letter.source, &letter.reason, &letter.detail);
    json!({ "at": letter.at.map(iso), "source": source, "reason": reason, "detail": detail, key: input }).to_string()
}

fn as_text(letter: &KeptLetter) -> String {
    let at = letter.at.map_or_else(|| "time not known".to_owned(), iso);
    // What a device has said may have anything in it, terminal commands included.
    let input: String = match std::str::from_utf8(&letter.input) {
        Ok(text) => text.escape_debug().take(SHOWN_CHARS_MAX).collect(),
        Err(_) => hex(&letter.input).chars().take(SHOWN_CHARS_MAX).collect(),
    };
    format!("{at}  {}  {}: {}\n    {input}", letter.source, letter.reason, letter.detail)
}
