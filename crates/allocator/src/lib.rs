//! The allocator of the gateway. It is a crate of its own because it holds the only unsafe code: every other
//! crate forbids it.

pub use mimalloc::MiMalloc;

/// Returns the calling thread's freed memory to the system.
pub fn collect() {
    // SAFETY: the function takes no pointers, and any thread may call it at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
