//! The log of the process, stored for tests that search it.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

static LOG: OnceLock<Log> = OnceLock::new();

/// Logs everything from now on, to where [`logged`] finds it. The log is that of the whole process: each log statement
/// caches for all threads whether anyone listens, so a log for one thread would miss lines.
pub fn start_log() {
    LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
        log
    });
}

/// What was logged by all tests so far.
pub fn logged() -> String {
    let bytes = LOG.get().map(|log| log.0.lock().unwrap().clone());
    String::from_utf8(bytes.unwrap_or_default()).unwrap()
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
