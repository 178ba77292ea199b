//! Where a client's token comes from. It is asked for at every connection, so that it may be renewed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Gives the token.
#[derive(Clone)]
pub enum TokenSource {
    /// This one.
    Text(String),
    /// The content of a file, read anew at each connection.
    File(PathBuf),
    /// Whatever the function gives.
    Function(Arc<dyn Fn() -> io::Result<String> + Send + Sync>),
}

/// There is no token.
#[derive(Debug, thiserror::Error)]
#[error("cannot get the token{}: {source}", .path.as_ref().map(|path| format!(" from {}", path.display())).unwrap_or_default())]
pub struct TokenError {
    path: Option<PathBuf>,
    source: io::Error,
}

impl TokenSource {
    /// The token as it is now.
    pub fn token(&self) -> Result<String, TokenError> {
        let text = match self {
            TokenSource::Text(text) => text.clone(),
            TokenSource::File(path) => {
                std::fs::read_to_string(path).map_err(|source| TokenError { path: Some(path.clone()), source })?
            }
            TokenSource::Function(give) => give().map_err(|source| TokenError { path: None, source })?,
        };
        Ok(text.trim().to_owned())
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenSource::Text(_) => f.write_str("Text(not shown)"),
            TokenSource::File(path) => f.debug_tuple("File").field(path).finish(),
            TokenSource::Function(_) => f.write_str("Function"),
        }
    }
}
