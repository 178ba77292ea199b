//! Promises of the supervisor.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{StopCause, Stopped, Supervisor};

const GRACE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_failed_task_stops_the_process_and_is_named() {
    let supervisor = Supervisor::new();
    supervisor.spawn("bystander", |stop| async move {
        stop.cancelled().await;
        Ok(())
    });
    supervisor.spawn("unlucky", |_| async { anyhow::bail!("no luck") });
    let stopped = supervisor.run(GRACE).await;
    let cause = StopCause::TaskFailed { task: "unlucky", error: "no luck".to_owned() };
    assert_eq!(stopped, Stopped { cause, stragglers: Vec::new() });
    assert!(stopped.into_result().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_stops_the_process() {
    let supervisor = Supervisor::new();
    supervisor.spawn("frightened", |_| async { panic!("boo") });
    let cause = StopCause::TaskFailed { task: "frightened", error: "panicked: boo".to_owned() };
    assert_eq!(supervisor.run(GRACE).await.cause, cause);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_done_stops_nothing() {
    let supervisor = Supervisor::new();
    let (done, mut heard) = mpsc::channel(1);
    supervisor.spawn("brief", move |_| async move { Ok(done.send(()).await?) });
    heard.recv().await;
    assert!(tokio::time::timeout(GRACE, supervisor.stop_wanted()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn others_finish_only_when_nothing_new_comes_in() {
    let supervisor = Supervisor::new();
    let (told, mut heard) = mpsc::channel(4);
    let last_words = told.clone();
    supervisor.spawn_acceptor("door", move |stop| async move {
        stop.cancelled().await;
        tokio::task::yield_now().await;
        Ok(last_words.send("door closed").await?)
    });
    supervisor.spawn("guest", move |stop| async move {
        stop.cancelled().await;
        Ok(told.send("guest gone").await?)
    });
    supervisor.stop("evening");
    supervisor.stop("a later reason");
    let stopped = supervisor.run(GRACE).await;
    assert_eq!(stopped.cause, StopCause::Wanted("evening".to_owned()));
    assert!(stopped.into_result().is_ok());
    assert_eq!(heard.recv().await, Some("door closed"));
    assert_eq!(heard.recv().await, Some("guest gone"));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_finish_in_time_is_cut_off_and_named() {
    let supervisor = Supervisor::new();
    for _ in 0..2 {
        supervisor.spawn("deaf", |_| std::future::pending());
    }
    supervisor.spawn_acceptor("deaf door", |_| std::future::pending());
    supervisor.stop("evening");
    let before = tokio::time::Instant::now();
    let stopped = supervisor.run(GRACE).await;
    assert_eq!(before.elapsed(), GRACE);
    assert_eq!(stopped.stragglers, [("deaf", 2), ("deaf door", 1)]);
    assert!(stopped.into_result().unwrap_err().to_string().contains("deaf (2), deaf door (1)"));
}

#[tokio::test]
async fn a_thread_is_waited_for_and_its_panic_is_heard() {
    let supervisor = Supervisor::new();
    let (feed, food) = std::sync::mpsc::channel::<()>();
    supervisor.spawn_thread("worker", move |_| {
        while food.recv().is_ok() {}
        Ok(())
    });
    supervisor.spawn_thread("frightened", move |_| {
        drop(feed);
        panic!("boo")
    });
    let stopped = supervisor.run(GRACE).await;
    let cause = StopCause::TaskFailed { task: "frightened", error: "the thread panicked".to_owned() };
    assert_eq!(stopped, Stopped { cause, stragglers: Vec::new() });
}
