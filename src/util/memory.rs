//! Returns unused memory of the allocator to the system. Has an effect with glibc only.

/// Tells the allocator that `busy` threads need memory of their own, and the rest can share. To be
/// called before there are threads.
///
/// Left alone, glibc makes eight heaps for each core, each with its own waste.
#[cfg_attr(
    not(all(target_os = "linux", target_env = "gnu")),
    allow(unused_variables, reason = "nothing to tell")
)]
pub fn set_up(busy: usize) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "there is no safe way to say it")]
    // SAFETY: it takes numbers, and refuses those that it does not like.
    unsafe {
        libc::mallopt(
            libc::M_ARENA_MAX,
            i32::try_from(busy + 1).unwrap_or(i32::MAX),
        );
    }
}

/// Gives what is free back to the system. Takes some milliseconds.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "there is no safe way to say it")]
    // SAFETY: any argument will do, and it touches nothing but what is free, under the allocator's
    // own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
