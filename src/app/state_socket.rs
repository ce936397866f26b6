//! Sockets in the state directory by which processes of gatelet talk with each other. They are for
//! the owner of the directory and for root.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use tokio::net::{UnixListener, UnixStream};

/// Listens on a socket. The caller has locked the state directory, so an existing socket is one
/// that a process left behind.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Checks that the other side is for the same user, or for root.
///
/// # Errors
/// It is not.
pub(super) fn check_peer(stream: &UnixStream) -> io::Result<()> {
    let client = stream.peer_cred()?.uid();
    let own = fs::metadata("/proc/self")?.uid();
    if client != own && client != 0 {
        return Err(io::Error::other(format!(
            "the user {client} has no right to it"
        )));
    }
    Ok(())
}
