//! Files of the state directory that other programs read.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
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

/// The folder of manifests that are applied to the mini cluster.
pub(super) fn manifests_path(state: &Path) -> PathBuf {
    state.join("manifests")
}

/// The file that shows that a restore has begun and not ended.
pub(super) fn restore_mark_path(state: &Path) -> PathBuf {
    state.join("restore.incomplete")
}

/// Creates a folder that its owner alone can use, unless it exists.
pub(super) fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
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
