//! The `llmgateway` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    without_huge_pages();
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
