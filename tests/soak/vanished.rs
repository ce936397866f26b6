//! Peers of a port that vanish without a word, as a device does whose plug is pulled: the probes of
//! the system find them, with the defaults and in real time.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::support::{Folder, eventually, gatelet::program, run};

/// The time within which both are found: the longest is that of a client, `stream_idle_timeout`.
const LIMIT: Duration = Duration::from_secs(300 + 60);

/// The port whose client vanishes, and the one whose endpoint does.
const PORTS: [u16; 2] = [1001, 1002];

/// Echoes what each client sends.
const ECHO: &str = "
import socket, sys, threading
server = socket.create_server((sys.argv[1], 9000))
def serve(client):
    while data := client.recv(4096):
        client.sendall(data)
while True:
    threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()
";

/// Says something once, and waits for more than the answer.
const CLIENT: &str = "
import socket, sys
server = socket.create_connection(('192.0.2.1', int(sys.argv[1])), 60)
server.settimeout(None)
server.sendall(b'hello')
assert server.recv(5) == b'hello'
open(sys.argv[2], 'w').close()
try:
    assert server.recv(1) == b''
except ConnectionResetError:
    pass
";

/// Two network namespaces with a cable between them: 192.0.2.1 and 192.0.2.2.
struct Cable {
    home: String,
    away: String,
    running: Vec<Child>,
}

impl Cable {
    /// Returns `None`, and says so, if this machine has no namespaces for this user.
    fn new() -> Option<Self> {
        let name = format!("gatelet-{}", std::process::id());
        let cable = Self {
            home: format!("{name}-home"),
            away: format!("{name}-away"),
            running: Vec::new(),
        };
        let added = Command::new("ip")
            .args(["netns", "add", &cable.home])
            .output();
        if !added.is_ok_and(|added| added.status.success()) {
            eprintln!("LEFT OUT: network namespaces need root");
            return None;
        }

        ip(&["netns", "add", &cable.away]);
        let (home, away) = (&*cable.home, &*cable.away);
        ip(&[
            "-n", home, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", away,
        ]);
        for (namespace, address) in [(home, "192.0.2.1/24"), (away, "192.0.2.2/24")] {
            ip(&["-n", namespace, "address", "add", address, "dev", "eth0"]);
            ip(&["-n", namespace, "link", "set", "eth0", "up"]);
            ip(&["-n", namespace, "link", "set", "lo", "up"]);
        }
        Some(cable)
    }

    /// Starts a program in a namespace.
    fn start(&mut self, namespace: &str, command: &Command) {
        let mut inside = Command::new("ip");
        inside
            .args(["netns", "exec", namespace])
            .arg(command.get_program());
        inside
            .args(command.get_args())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.running.push(inside.spawn().expect("ip"));
    }

    fn start_python(&mut self, namespace: &str, arguments: &[&str]) {
        let mut python = Command::new("python3");
        self.start(namespace, python.arg("-c").args(arguments));
    }

    /// Returns the connections of clients that a port has.
    fn open(&self, port: u16) -> usize {
        let mut ss = Command::new("ip");
        ss.args([
            "netns",
            "exec",
            &self.home,
            "ss",
            "-Htn",
            "state",
            "established",
        ]);
        let shown = run(ss.arg(format!("sport = :{port}")));
        shown.lines().count()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        for namespace in [&self.home, &self.away] {
            let _ = Command::new("ip")
                .args(["netns", "delete", namespace])
                .output();
        }
    }
}

fn ip(arguments: &[&str]) {
    run(Command::new("ip").args(arguments));
}

/// A Service that opens a port for the server of this address.
fn manifest(port: u16, address: &str) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: p{port}, annotations: {{gatelet.dev/tcp-listen: \"{port}:80\"}}}}
spec: {{ports: [{{port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: p{port}, labels: {{kubernetes.io/service-name: p{port}}}}}
addressType: IPv4
endpoints: [{{addresses: [{address}]}}]
ports: [{{port: 9000}}]
---
"
    )
}

#[test]
#[ignore = "takes five minutes: tests/run runs it beside the other tests"]
fn peers_that_vanish_are_found_by_probes() {
    let Some(mut cable) = Cable::new() else {
        return;
    };
    let folder = Folder::new();
    let state = folder.path().join("state");
    let manifests = state.join("manifests");
    fs::create_dir_all(&manifests).expect("a folder");
    let text = manifest(PORTS[0], "192.0.2.1") + &manifest(PORTS[1], "192.0.2.2");
    fs::write(manifests.join("ports.yaml"), text).expect("a file");

    let (home, away) = (cable.home.clone(), cable.away.clone());
    let mut gatelet = program();
    gatelet
        .arg("run")
        .arg("--state")
        .arg(&state)
        .args(["--node", "home"]);
    for (flag, port) in [
        ("--http", 80),
        ("--https", 443),
        ("--api", 6443),
        ("--admin", 9443),
    ] {
        gatelet.arg(flag).arg(format!("192.0.2.1:{port}"));
    }
    cable.start(&home, &gatelet);
    cable.start_python(&home, &[ECHO, "192.0.2.1"]);
    cable.start_python(&away, &[ECHO, "192.0.2.2"]);

    // One client is far away, the other one has its endpoint there.
    let answered = PORTS.map(|port| folder.path().join(port.to_string()));
    for (port, namespace, answered) in [
        (PORTS[0], &away, &answered[0]),
        (PORTS[1], &home, &answered[1]),
    ] {
        let answered = answered.to_str().expect("text");
        eventually("the port is open", || {
            let mut ss = Command::new("ip");
            ss.args(["netns", "exec", &home, "ss", "-Htln"]);
            let shown = run(ss.arg(format!("sport = :{port}")));
            (!shown.is_empty()).then_some(())
        });
        cable.start_python(namespace, &[CLIENT, &port.to_string(), answered]);
    }
    for file in &answered {
        eventually("both have an answer", || file.exists().then_some(()));
    }

    ip(&["-n", &away, "link", "set", "eth0", "down"]);
    let began = Instant::now();
    let mut found = [None; 2];
    while found.contains(&None) {
        for (found, port) in found.iter_mut().zip(PORTS) {
            if cable.open(port) == 0 {
                found.get_or_insert(began.elapsed());
            }
        }
        assert!(began.elapsed() < LIMIT, "found after: {found:?}");
        sleep(Duration::from_secs(1));
    }
    eprintln!("a client and an endpoint that vanished were found after {found:?}");
}
