//! Parts that tests share: a gatelet, a backend, the peers.
#![allow(dead_code, unused_imports, reason = "not every test needs everything")]

pub mod backend;
pub mod certificates;
pub mod chaos;
pub mod client_certificates;
pub mod clients;
pub mod control_plane;
pub mod dns_server;
pub mod frames;
pub mod gatelet;
pub mod http;
pub mod nginx;
pub mod pebble;
pub mod peers;
pub mod web_service;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::atomic::{AtomicU16, AtomicU32, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};

pub use backend::Backend;
pub use certificates::Certificate;
pub use dns_server::DnsServer;
pub use gatelet::Gatelet;
pub use http::{Answer, Connection};
pub use nginx::Nginx;
pub use pebble::Pebble;
pub use web_service::WebService;

/// A folder that is removed with its test.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "gatelet-it-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary folder");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file in the temporary folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("left for inspection: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Returns a port of 127.0.0.1 without a listener, below the range from which the system chooses.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let offset = NEXT.fetch_add(1, Relaxed) + (std::process::id() % 4000) as u16;
        let port = 20_000 + offset % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Repeats `ask` until it returns something. Panics with the description after a time limit.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            began.elapsed() < Duration::from_secs(90),
            "waited 90 s for: {what}"
        );
        sleep(Duration::from_millis(10));
    }
}

/// Runs a command to its end. Returns its standard output; on failure, panics with all its output.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed:\n{}",
        said(&output)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns all output of a command.
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Returns true if mounts can be made; if not, prints what is left out.
pub fn can_mount() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let able = root
        && Command::new("unshare")
            .args(["--mount", "true"])
            .status()
            .is_ok_and(|status| status.success());
    if !able {
        eprintln!("LEFT OUT: mounts need root");
    }
    able
}
