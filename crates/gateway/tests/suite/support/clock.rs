//! Time that stands still until a test moves it, while sockets work as ever.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

/// Runs a part of a test during which tokio's clock only moves by [`advance`]. A gateway can start in it, but its end
/// waits for timers.
///
/// A paused clock jumps to the next timer as soon as nothing else is to do, and waiting for a socket counts as nothing.
/// It does not while a blocking task runs: one that waits for the end of the test. The test runs in a task of its own,
/// so that the blocking task also ends when the test panics; else the runtime would wait for it for ever.
pub async fn with_held_clock<T: Send + 'static>(test: impl Future<Output = T> + Send + 'static) -> T {
    let (release, wait) = mpsc::channel::<()>();
    let blocking = tokio::task::spawn_blocking(move || wait.recv().is_ok());
    tokio::time::pause();
    let result = tokio::spawn(test).await;
    drop(release);
    let _ = blocking.await;
    tokio::time::resume();
    result.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Moves the clock. What was under way on a socket has been seen before, and timers have run after.
pub async fn advance(time: Duration) {
    settle().await;
    // Timers are as fine as milliseconds, and late rather than early.
    tokio::time::advance(time + Duration::from_millis(2)).await;
    settle().await;
}

/// Moves the clock by seconds.
pub async fn advance_seconds(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
}

/// Lets all tasks go as far as they get: each turn looks at the sockets too.
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
