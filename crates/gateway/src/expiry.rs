//! Deletes expired rows of the database, a bounded number at a time, so that requests never wait for it.

use std::convert::Infallible;
use std::time::Duration;

use store::StoreError;

/// How often expired rows are deleted, and the pause between two batches.
const EVERY: Duration = Duration::from_hours(1);
const PAUSE: Duration = Duration::from_millis(100);

/// Deletes as long as it is polled. `delete` deletes one batch and returns the number of rows; `what` names them in
/// the log.
pub async fn run<F>(what: &str, delete: impl Fn() -> F) -> Infallible
where
    F: Future<Output = Result<u64, StoreError>>,
{
    loop {
        let pause = match delete().await {
            Ok(0) => EVERY,
            Ok(_) => PAUSE,
            Err(error) => {
                tracing::warn!("expired {what} cannot be deleted yet: {error}");
                EVERY
            }
        };
        tokio::time::sleep(pause).await;
    }
}
