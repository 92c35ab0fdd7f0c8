//! The `llmgateway` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    without_huge_pages();
    gateway::memory::collect_by(give_memory_back);
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

/// Returns the calling thread's freed memory to the system.
#[expect(unsafe_code, reason = "the allocator has no safe function for it")]
fn give_memory_back() {
    // SAFETY: it takes no pointers, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
