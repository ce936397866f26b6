//! Pebble, a small CA that speaks ACME, with the DNS server that it queries.

use std::{
    fs::File,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use gatelet::tls::LocalCa;
use serde_json::{Value, json};

use super::{Folder, control_plane::within, eventually, free_port, peers, run};

/// The settings of a Pebble.
#[derive(Debug, Default)]
pub struct Options {
    /// Added to the `pebble` object of the configuration.
    pub config: Value,
    /// Added to the environment. Without `PEBBLE_VA_NOSLEEP=1` a validation takes seconds.
    pub environment: Vec<(&'static str, &'static str)>,
    /// The DNS server also responds to HTTP-01 on the port that Pebble validates, with the values
    /// that [`Pebble::tell_dns`] sent to `/add-http01`.
    pub answers_http: bool,
    /// The DNS server that it queries instead of its own.
    pub dns_server: Option<SocketAddr>,
    /// A process in whose network namespace it runs, if not in ours.
    pub inside: Option<u32>,
}

/// A running Pebble. Killed with its test.
#[derive(Debug)]
pub struct Pebble {
    /// The port of its HTTP-01 validation.
    pub http_port: u16,
    /// The port of its TLS-ALPN-01 validation.
    pub tls_port: u16,
    /// The port of its DNS server, on UDP and TCP of 127.0.0.1.
    pub dns_port: u16,
    port: u16,
    management: u16,
    dns_management: u16,
    program: PathBuf,
    environment: Vec<(&'static str, &'static str)>,
    dns_server: Option<SocketAddr>,
    inside: Option<u32>,
    folder: Folder,
    dns: Child,
    child: Option<Child>,
}

impl Pebble {
    /// Debian's 2.4: no renewal information, no profiles, no `Retry-After`.
    pub fn start(options: Options) -> Self {
        Self::of("pebble".into(), options)
    }

    /// 2.10, which has them. Without a build of it, prints a note and returns `None`.
    pub fn start_newest(options: Options) -> Option<Self> {
        Some(Self::of(peers::newest_pebble()?, options))
    }

    fn of(program: PathBuf, options: Options) -> Self {
        let folder = Folder::new();
        let [
            port,
            management,
            http_port,
            tls_port,
            dns_port,
            dns_management,
        ] = std::array::from_fn(|_| free_port());
        let ca = LocalCa::generate("Pebble's own server").expect("a CA");
        let server = ca
            .issue_server(&["localhost"], &[[127, 0, 0, 1].into()])
            .expect("a certificate");
        folder.write("root.pem", ca.root_pem());
        let mut config = json!({
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": folder.write("server.pem", &server.chain_pem),
            "privateKey": folder.write("server.key", &server.key_pem),
            "httpPort": http_port,
            "tlsPort": tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        });
        for (name, value) in options.config.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        folder.write("pebble.json", &json!({"pebble": config}).to_string());

        let http = if options.answers_http {
            format!("127.0.0.1:{http_port}")
        } else {
            String::new()
        };
        // No IPv6 addresses: Pebble would try only them.
        let mut dns = Command::new("pebble-challtestsrv");
        dns.args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-http01",
            &http,
        ])
        .args(["-dns01", &format!("127.0.0.1:{dns_port}")])
        .args(["-management", &format!("127.0.0.1:{dns_management}")]);
        let dns = there(options.inside, dns)
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("dns.log")).expect("a log"))
            .spawn()
            .expect("pebble-challtestsrv is installed by tests/run");
        let Options {
            environment,
            dns_server,
            inside,
            ..
        } = options;
        let (program, child) = (program, None);
        let mut pebble = Self {
            http_port,
            tls_port,
            dns_port,
            port,
            management,
            dns_management,
            program,
            environment,
            dns_server,
            inside,
            folder,
            dns,
            child,
        };
        listens(inside, dns_management);
        pebble.go_on();
        pebble
    }

    /// Its directory.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The root of its own HTTPS, as PEM; not that of its certificates.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// Reads a page of its management interface, such as `/roots/0`.
    pub fn manage(&self, path: &str) -> String {
        let url = format!("https://localhost:{}{path}", self.management);
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--cacert"]).arg(self.root()).arg(url);
        run(&mut there(self.inside, curl))
    }

    /// Sends a command to its DNS server, such as `/set-txt` with `{"host":
    /// "_acme-challenge.a.test.", "value": "x"}`.
    pub fn tell_dns(&self, path: &str, what: &Value) {
        let url = format!("http://127.0.0.1:{}{path}", self.dns_management);
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "-d", &what.to_string(), &url]);
        run(&mut there(self.inside, curl));
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pebble.log")).unwrap_or_default()
    }

    /// Stops it. It forgets everything, including its roots.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it after [`Self::stop`], on the same ports.
    pub fn go_on(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("pebble.log"))
            .expect("a log");
        let mut command = Command::new(&self.program);
        command
            .arg("-config")
            .arg(self.folder.path().join("pebble.json"))
            .arg("-dnsserver")
            .arg(
                self.dns_server
                    .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], self.dns_port)))
                    .to_string(),
            )
            .envs(self.environment.iter().copied());
        let child = there(self.inside, command)
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("pebble is installed by tests/run");
        self.child = Some(child);
        listens(self.inside, self.port);
        listens(self.inside, self.management);
    }

    /// Makes it hang with its connections open, or continue.
    pub fn freeze(&self, frozen: bool) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        run(Command::new("kill").args([if frozen { "-STOP" } else { "-CONT" }, &pid]));
        // The signal takes effect later; on a busy machine every thread may run on for a while.
        let stopped = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('T'))
        };
        eventually("Pebble stands still or runs", || {
            let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
            (tasks.flatten().all(stopped) == frozen).then_some(())
        });
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
        let _ = self.dns.kill();
        let _ = self.dns.wait();
    }
}

/// The command, in the network namespace of a process if it is not to be in ours.
fn there(inside: Option<u32>, command: Command) -> Command {
    match inside {
        Some(pid) => within(pid, &command),
        None => command,
    }
}

fn listens(inside: Option<u32>, port: u16) {
    let mut look = Command::new("bash");
    look.args(["-c", &format!("exec 3<>/dev/tcp/127.0.0.1/{port}")]);
    eventually(&format!("port {port} open"), || match inside {
        None => TcpStream::connect(("127.0.0.1", port)).ok().map(drop),
        Some(pid) => within(pid, &look)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
            .then_some(()),
    });
}
