//! The peers that `tests/run` installs into the build folder.

use std::{path::PathBuf, process::Command};

/// Where they are.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers")
}

/// The newest kubectl.
pub fn kubectl() -> Command {
    needed("python/bin/kubectl")
}

/// The oldest kubectl that is supported; `None`, loudly, where Go was not there to build it.
pub fn oldest_kubectl() -> Option<Command> {
    optional("bin/kubectl-1.29")
}

/// The components of a real control plane in one binary; `None`, loudly, where Go was not there to build it.
pub fn control_plane() -> Option<PathBuf> {
    optional("bin/cluster").map(|_| folder().join("bin/cluster"))
}

/// Python with websockets and grpcio.
pub fn python() -> Command {
    needed("python/bin/python3")
}

fn needed(name: &str) -> Command {
    let path = folder().join(name);
    assert!(path.exists(), "{} is missing: run tests/run once, it installs the test peers", path.display());
    Command::new(path)
}

fn optional(name: &str) -> Option<Command> {
    let path = folder().join(name);
    if path.exists() {
        return Some(Command::new(path));
    }
    eprintln!("LEFT OUT: {} is missing (it is built with Go by tests/run)", path.display());
    None
}
