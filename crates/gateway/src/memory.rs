//! Returns the memory of a burst to the system.
//!
//! The allocator returns freed memory at a thread's next allocation, separately for each thread. After a
//! burst there are no allocations, and the process would keep its maximum size. So once enough has been freed
//! and the load has dropped, every worker is made to collect. No timer runs while there is nothing to
//! collect.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock;

static COLLECT: OnceLock<fn()> = OnceLock::new();

/// The freed bytes that make a collection worthwhile.
const MUCH: usize = 8 << 20;

/// The load has dropped when less than [`MUCH`] was freed in this time.
const CALM: Duration = Duration::from_secs(2);

/// Connections and tasks of a burst end a little later than its requests.
const LATER: Duration = Duration::from_secs(5);

/// Longest time that a worker waits for the others to collect.
const TOGETHER: Duration = Duration::from_millis(20);

/// Sets the function that returns the calling thread's freed memory. Without it nothing is collected.
pub fn collect_by(collect: fn()) {
    // Set once, by the binary, which chose the allocator.
    let _ = COLLECT.set(collect);
}

/// Counts freed bytes.
#[derive(Debug, Default)]
pub struct Freed {
    bytes: AtomicUsize,
    is_watched: AtomicBool,
}

impl Freed {
    /// Notes freed bytes.
    pub fn note(self: &Arc<Self>, bytes: usize) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes >= MUCH
            && COLLECT.get().is_some()
            && !self.is_watched.swap(true, Ordering::AcqRel)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            #[expect(clippy::disallowed_methods, reason = "one at a time; ends with the load")]
            runtime.spawn(collect_when_calm(self.clone()));
        }
    }
}

async fn collect_when_calm(freed: Arc<Freed>) {
    loop {
        freed.bytes.store(0, Ordering::Relaxed);
        tokio::time::sleep(CALM).await;
        if freed.bytes.load(Ordering::Relaxed) < MUCH {
            break;
        }
    }
    collect_everywhere();
    tokio::time::sleep(LATER).await;
    collect_everywhere();
    freed.is_watched.store(false, Ordering::Release);
}

/// One task per worker. Each occupies its worker for a moment, so that the next task goes to another one.
fn collect_everywhere() {
    let Some(collect) = COLLECT.get() else { return };
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..workers {
        let done = done.clone();
        #[expect(clippy::disallowed_methods, reason = "ends after `TOGETHER`")]
        tokio::spawn(async move {
            collect();
            done.fetch_add(1, Ordering::AcqRel);
            let began = clock::now();
            while done.load(Ordering::Acquire) < workers && began.elapsed() < TOGETHER {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
    }
}
