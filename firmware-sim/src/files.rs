//! Each connection takes an open file: as many as are needed are asked for at the start.

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the process needs beside its connections.
const OTHER_FILES: u64 = 64;

/// Raises the limit as far as it must be; says what to do where it may not be.
pub(crate) fn raise_limit(connections: u64) -> anyhow::Result<()> {
    let needed = connections + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    let is_enough = |bound: Option<u64>| bound.is_none_or(|bound| needed <= bound);
    if is_enough(limit.current) {
        return Ok(());
    }
    // Who may raise the hard limit too (root) need not be told to.
    let wanted = Rlimit { current: Some(needed), maximum: limit.maximum.map(|maximum| maximum.max(needed)) };
    match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => Ok(()),
        Err(_) if !is_enough(limit.maximum) => bail!(
            "{connections} connections take {needed} open files, and this user may have {}; \
             raise it (ulimit -Hn {needed}, or LimitNOFILE= of the service) or ask for fewer",
            limit.maximum.unwrap_or_default()
        ),
        Err(error) => Err(error).context("cannot raise the limit of open files"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_nobody_may_have_is_told_with_what_to_do() {
        assert!(raise_limit(1).is_ok());
        let error = raise_limit(1 << 40).unwrap_err().to_string();
        assert!(error.contains("ulimit -Hn"), "{error}");
    }
}
