//! A real DNS server: Debian's knot, on a port of its own, with zones that a TSIG key may update.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use super::{Folder, Gatelet, can_mount, eventually, free_port, run};

/// The key that may update every zone, and its secret.
pub const KEY: &str = "acme";
pub const SECRET: &str = "Z2F0ZWxldC1nYXRlbGV0LWdhdGVsZXQtZ2F0ZWxldCE=";
/// A key that the server knows and that may not update anything. It has the same secret.
pub const POWERLESS_KEY: &str = "reader";

/// An authoritative server on loopback, by UDP and TCP. Killed with its test.
#[derive(Debug)]
pub struct DnsServer {
    pub port: u16,
    ip: IpAddr,
    folder: Folder,
    child: Child,
}

impl DnsServer {
    /// Starts a server and waits until it responds. A zone is its name and further records in the
    /// format of zone files; SOA, NS and `ns`, the server's address, are there already.
    pub fn start(zones: &[(&str, &str)]) -> Self {
        Self::listening(SocketAddr::from(([127, 0, 0, 1], free_port())), zones)
    }

    /// Starts a server that can be the system's resolver of a gatelet, see [`Self::resolves_for`].
    /// Without root, prints a note and returns `None`.
    pub fn at_port_53(zones: &[(&str, &str)]) -> Option<Self> {
        static NEXT: AtomicU8 = AtomicU8::new(1);
        let ip = [
            127,
            53,
            (std::process::id() % 250) as u8,
            NEXT.fetch_add(1, Relaxed),
        ];
        let address = SocketAddr::from((ip, 53));
        if !can_mount() {
            return None;
        }
        if TcpListener::bind(address).is_err() {
            eprintln!("LEFT OUT: port 53 needs root");
            return None;
        }
        Some(Self::listening(address, zones))
    }

    /// Makes this server the system's resolver of a gatelet that is not started yet.
    pub fn resolves_for(&self, gatelet: &mut Gatelet) {
        let file = gatelet
            .folder
            .write("resolv.conf", &format!("nameserver {}\n", self.ip));
        gatelet.mounts(&format!("mount --bind {} /etc/resolv.conf", file.display()));
    }

    /// Adds a TXT record, as the owner of the zone does.
    pub fn add_txt(&self, zone: &str, name: &str, text: &str) {
        let update = format!(
            "server {} {}\nzone {zone}.\nupdate add {name}. 60 TXT \"{text}\"\nsend\n",
            self.ip, self.port
        );
        let file = self.folder.write("update", &update);
        run(Command::new("knsupdate")
            .args(["-y", &format!("hmac-sha256:{KEY}:{SECRET}")])
            .arg(file));
    }

    /// The same at an address of loopback.
    pub fn listening(address: SocketAddr, zones: &[(&str, &str)]) -> Self {
        let (folder, port, ip) = (Folder::new(), address.port(), address.ip());
        let at = folder.path().display();
        std::fs::create_dir(folder.path().join("db")).expect("a folder");
        let mut config = format!(
            "server:\n  rundir: {at}\n  listen: {ip}@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  \
                background-workers: 1
database:\n  storage: {at}/db
log:\n  - target: stderr\n    any: info
key:
  - id: {KEY}\n    algorithm: hmac-sha256\n    secret: {SECRET}
  - id: {POWERLESS_KEY}\n    algorithm: hmac-sha256\n    secret: {SECRET}
acl:\n  - id: update\n    key: {KEY}\n    action: update
zone:\n"
        );
        for (zone, records) in zones {
            config += &format!(
                "  - domain: {zone}\n    storage: {at}\n    file: {zone}.zone\n    acl: update\n"
            );
            config +=
                "    zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: changes\n";
            let start = format!(
                "$ORIGIN {zone}.\n$TTL 60\n@ SOA ns admin 1 60 60 3600 1\n@ NS ns\nns A 127.0.0.1\n"
            );
            folder.write(&format!("{zone}.zone"), &format!("{start}{records}\n"));
        }
        let config = folder.write("knot.conf", &config);
        let log = File::create(folder.path().join("log")).expect("a log");
        let program = if std::path::Path::new("/usr/sbin/knotd").exists() {
            "/usr/sbin/knotd"
        } else {
            "knotd"
        };
        let child = Command::new(program)
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a handle"))
            .stderr(log)
            .spawn()
            .expect("knotd (Debian: knot), which tests/run installs");
        let server = Self {
            port,
            ip,
            folder,
            child,
        };
        for (zone, _) in zones {
            eventually(
                &format!(
                    "knot responds for {zone}: see {}",
                    server.folder.path().display()
                ),
                || (!server.ask(zone, "SOA").is_empty()).then_some(()),
            );
        }
        server
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }

    /// Returns its records for a name, sorted, as kdig prints them.
    pub fn ask(&self, name: &str, kind: &str) -> Vec<String> {
        let mut command = Command::new("kdig");
        command.args([
            &format!("@{}", self.ip),
            "-p",
            &self.port.to_string(),
            "+short",
            "+retry=0",
            "+timeout=1",
            name,
            kind,
        ]);
        // Before it listens, kdig fails.
        let output = command
            .output()
            .expect("kdig (Debian: knot-dnsutils), which tests/run installs");
        let text = if output.status.success() {
            String::from_utf8_lossy(&output.stdout)
        } else {
            "".into()
        };
        let mut lines: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with(";;"))
            .map(|line| line.trim_matches('"').to_owned())
            .collect();
        lines.sort();
        lines
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
