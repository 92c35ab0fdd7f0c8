//! The `llmgateway` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    without_huge_pages();
    gateway::memory::collect_by(give_memory_back);
    gateway::cli::main()
}

/// Memory comes in pages of 4 KiB: in huge ones, half of what is resident was never written to. The allocator does not
/// ask for huge pages; this is for systems that give them unasked.
fn without_huge_pages() {
    #[cfg(target_os = "linux")]
    if rustix::thread::disable_transparent_huge_pages(true).is_err() {
        // It runs as well with more memory.
    }
}

/// Gives what the calling thread has freed back to the system.
#[expect(unsafe_code, reason = "the allocator has no safe function for it")]
fn give_memory_back() {
    // SAFETY: it takes no pointers, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
