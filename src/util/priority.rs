//! The priority of threads.

/// The niceness of a thread that works only where others leave time.
const LOW: i32 = 15;

/// Lowers the priority of this thread, so that it takes no time from others.
pub fn lower() {
    #[allow(unsafe_code, reason = "there is no safe way to say it")]
    // SAFETY: it has no memory to do with. With id 0 Linux changes the calling thread alone; a
    // failure leaves the priority as it is.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, LOW);
    }
}
