//! Sockets that the service manager holds across restarts, and passes to the process
//! (`sd_listen_fds(3)`).

use std::{
    io,
    net::TcpListener,
    os::fd::{FromRawFd as _, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use socket2::Socket;

/// Returns the listening TCP sockets that were passed to this process; only the first call returns
/// any. Other descriptors are closed.
///
/// # Errors
/// The variables of the environment that announce them are wrong.
pub fn held() -> io::Result<Vec<TcpListener>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }

    let passed = sd_notify::listen_fds()?.map(|descriptor| {
        #[allow(
            unsafe_code,
            reason = "there is no safe way to take a descriptor by its number"
        )]
        // SAFETY: it was opened for this process, and this function takes it only once.
        unsafe {
            OwnedFd::from_raw_fd(descriptor)
        }
    });
    let is_tcp_listener = |socket: &Socket| {
        let address = socket.local_addr();
        socket.is_listener().unwrap_or(false) && address.is_ok_and(|at| at.as_socket().is_some())
    };
    let listening = passed.map(Socket::from).filter(is_tcp_listener);
    Ok(listening.map(TcpListener::from).collect())
}
