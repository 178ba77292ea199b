//! Waiting on conditions: the one place that pauses.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a test waits for what should take a moment: generous, for machines that are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until there is something to see; says what was missing if there never was.
pub fn until<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(seen) = look() {
            return Ok(seen);
        }
        if start.elapsed() > patience {
            bail!("waited {} s in vain: {what}", patience.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

/// Lets a span of time pass, for plans such as "kill something every now and then". Never a substitute for a condition.
pub fn pass(span: Duration) {
    std::thread::sleep(span);
}
