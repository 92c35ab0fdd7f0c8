//! The `llmgateway` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::MiMalloc = allocator::MiMalloc;

fn main() -> ExitCode {
    without_huge_pages();
    gateway::memory::collect_by(allocator::collect);
    gateway::cli::main()
}

/// Disables huge pages: with them half of the resident memory was never written to. The allocator does not
/// request them; this is for systems that use them by default.
fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    if rustix::thread::disable_transparent_huge_pages(true).is_err() {
        // A failure only costs memory.
    }
}
