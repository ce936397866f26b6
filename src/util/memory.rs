//! Memory that the allocator keeps though nobody uses it.

/// Gives it back to the system, where the allocator can (glibc's `malloc_trim`). Takes some milliseconds.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "there is no safe way to say it")]
    // SAFETY: any argument will do, and it touches nothing but what is free, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
