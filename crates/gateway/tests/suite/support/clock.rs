//! Time that only a test moves, while sockets work as usual.

use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

/// Runs a part of a test during which tokio's clock only moves by [`advance`]. A gateway can start in it, but its stop
/// waits for timers.
///
/// A paused clock jumps to the next timer whenever the runtime is idle, and a wait for a socket counts as idle. It does
/// not jump while a blocking task runs, so one blocking task waits for the end of the test. The test runs in a task of
/// its own, so that the blocking task also ends if the test panics; otherwise the runtime would wait for it forever.
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

/// Moves the clock. Sockets are read before the move, and timers run after it.
pub async fn advance(time: Duration) {
    settle().await;
    // Timers have a resolution of one millisecond, and fire late rather than early.
    tokio::time::advance(time + Duration::from_millis(2)).await;
    settle().await;
}

/// Moves the clock by seconds.
pub async fn advance_seconds(seconds: u64) {
    advance(Duration::from_secs(seconds)).await;
}

/// Lets all tasks run until they wait. Each turn also polls the sockets.
pub async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Waits for what another process does: for half a minute at most.
pub async fn eventually(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it has not happened in time");
}
