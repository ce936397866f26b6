//! Files of the state directory that other programs read.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The administrator's kubeconfig of the mini cluster; it holds a key.
pub fn kubeconfig_path(state: &Path) -> PathBuf {
    state.join("kubeconfig")
}

/// The root certificate of the local CA.
pub fn root_path(state: &Path) -> PathBuf {
    state.join("ca.pem")
}

/// Writes a file whole or not at all, readable by its owner, or by everyone. One that is the same
/// is left alone.
pub(super) fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    if fs::read(path).is_ok_and(|same| same == text.as_bytes()) {
        return Ok(());
    }
    let next = path.with_extension("next");
    let _ = fs::remove_file(&next);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&next, path)
}
