//! SIGTERM and SIGINT ask a process to stop.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

use crate::Supervisor;

/// From now on SIGTERM and SIGINT (Ctrl-C) make the supervisor stop the process.
pub fn stop_on_signals(supervisor: &Supervisor) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked = supervisor.clone();
    supervisor.spawn("signals", move |stop| async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            // CANCEL-SAFE: a signal that came is kept until it is received.
            _ = terminate.recv() => asked.stop("SIGTERM"),
            // CANCEL-SAFE: as above.
            _ = interrupt.recv() => asked.stop("SIGINT"),
        }
        Ok(())
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;
    use crate::StopCause;

    #[tokio::test]
    async fn a_signal_stops_the_process_in_order() {
        let supervisor = Supervisor::new();
        stop_on_signals(&supervisor).unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        let stopped = supervisor.run(Duration::from_secs(5)).await;
        assert_eq!(stopped.cause, StopCause::Wanted("SIGTERM".to_owned()));
        assert!(stopped.stragglers.is_empty());
    }
}
