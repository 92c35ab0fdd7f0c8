//! Gives the memory of a burst back to the system.
//!
//! The allocator returns freed memory when it is next asked for some, and each thread looks after its own. After a burst
//! nobody asks, and the process would stay as large as it ever was. So once much has been freed and it has become calm,
//! every worker is made to collect. Nothing ticks while there is nothing to collect.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::clock;

static COLLECT: OnceLock<fn()> = OnceLock::new();

/// So much has to be freed before it is worth the work.
const MUCH: usize = 8 << 20;

/// Calm is when less than [`MUCH`] was freed in this time.
const CALM: Duration = Duration::from_secs(2);

/// Connections and tasks of a burst end a little later than its requests.
const LATER: Duration = Duration::from_secs(5);

/// Longest time that a worker waits for the others to collect.
const TOGETHER: Duration = Duration::from_millis(20);

/// Says how the calling thread gives its freed memory back. Without it nothing is collected.
pub fn collect_by(collect: fn()) {
    // Said once, by the binary that chose the allocator.
    let _ = COLLECT.set(collect);
}

/// Counts what is freed.
#[derive(Debug, Default)]
pub struct Freed {
    bytes: AtomicUsize,
    is_watched: AtomicBool,
}

impl Freed {
    /// Notes that so many bytes were freed.
    pub fn note(self: &Arc<Self>, bytes: usize) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes >= MUCH
            && COLLECT.get().is_some()
            && !self.is_watched.swap(true, Ordering::AcqRel)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
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

/// One task for each worker. Each of them holds its worker for a moment, so that the next goes to another one.
fn collect_everywhere() {
    let Some(collect) = COLLECT.get() else { return };
    let workers = tokio::runtime::Handle::current().metrics().num_workers();
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..workers {
        let done = done.clone();
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
