//! The limit of open descriptors (files, sockets) of the process.

use std::io;

/// Raises the soft limit to the hard one: the soft one is low for the sake of programs that use
/// `select`. Returns the limit that holds now.
///
/// # Errors
/// The system does not tell the limit, or refuses to raise it.
#[allow(unsafe_code, reason = "there is no safe way to say it")]
pub fn raise_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: it writes to a place that is ours and lasts.
    if unsafe { libc::getrlimit64(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: it reads from a place that is ours and lasts.
        if unsafe { libc::setrlimit64(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}
