//! A timer for deadlines that mostly move on before they are reached.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// Waits for a deadline that its owner keeps.
///
/// To set a timer takes a lock that all tasks share, and the deadlines of a link or a session move with every
/// message. So this one is set again only where a deadline comes earlier, or when it went off too early.
#[derive(Debug)]
pub struct LazyTimer {
    sleep: Pin<Box<Sleep>>,
}

impl LazyTimer {
    /// A timer that will first be asked about this moment, or a later one.
    pub fn new(first: Instant) -> LazyTimer {
        LazyTimer { sleep: Box::pin(sleep_until(first)) }
    }

    /// Ready when this moment has come, and at every later call with a moment that has come.
    pub fn poll(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        if at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
        loop {
            ready!(self.sleep.as_mut().poll(context));
            if at <= Instant::now() {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_off_when_the_deadline_has_come_whichever_way_that_moved() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut timer = LazyTimer::new(after(5));
        for (at, now) in [(9, 9), (12, 12), (3, 12), (13, 13)] {
            poll_fn(|context| timer.poll(after(at), context)).await;
            assert_eq!(Instant::now(), after(now), "{at}");
        }
        let mut nearer = LazyTimer::new(after(1_000));
        poll_fn(|context| nearer.poll(after(20), context)).await;
        assert_eq!(Instant::now(), after(20));
    }
}
