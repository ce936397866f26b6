//! A running gatelet.

use std::{
    fs::File,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
};

use super::{Folder, eventually, free_port, peers, run};

/// The name of the node of every gatelet here.
pub const NODE: &str = "test";

/// A gatelet process with a state folder of its own. Killed with its test.
#[derive(Debug)]
pub struct Gatelet {
    pub folder: Folder,
    pub http: u16,
    pub https: u16,
    pub api: u16,
    pub admin: u16,
    extra: Vec<String>,
    environment: Vec<(String, String)>,
    /// A script that prepares a mount namespace of its own, with the state folder as `$STATE`.
    mounts: Option<String>,
    child: Option<Child>,
}

impl Gatelet {
    /// Starts a gatelet with the mini cluster and waits until it serves.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same with further arguments of `run`.
    pub fn with(extra: &[&str]) -> Self {
        let mut gatelet = Self::prepare(extra);
        gatelet.spawn();
        gatelet.wait_ready();
        gatelet
    }

    /// Chooses ports and the folder; nothing runs yet.
    pub fn prepare(extra: &[&str]) -> Self {
        Self {
            folder: Folder::new(),
            http: free_port(),
            https: free_port(),
            api: free_port(),
            admin: free_port(),
            extra: extra.iter().map(|&argument| argument.to_owned()).collect(),
            environment: Vec::new(),
            mounts: None,
            child: None,
        }
    }

    /// Starts a gatelet with a configuration file.
    pub fn configured(text: &str) -> Self {
        let mut gatelet = Self::prepare(&[]);
        gatelet.configure(text);
        gatelet.spawn();
        gatelet.wait_ready();
        gatelet
    }

    /// Sets the configuration file from the next start on.
    pub fn configure(&mut self, text: &str) {
        let path = self.folder.write("gatelet.toml", text);
        self.environment("GATELET_CONFIG", path.to_str().expect("a plain path"));
    }

    /// Prepares the next run of a gatelet that has ended, with other arguments.
    pub fn again(mut self, extra: &[&str]) -> Self {
        self.extra = extra.iter().map(|&argument| argument.to_owned()).collect();
        self.spawn();
        self.wait_ready();
        self
    }

    /// Sets an environment variable for the process.
    pub fn environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The state folder as the process sees it.
    pub fn inner_state(&self) -> PathBuf {
        match &self.mounts {
            None => self.state(),
            Some(_) => PathBuf::from(format!(
                "/proc/{}/root{}",
                self.pid(),
                self.state().display()
            )),
        }
    }

    /// Lets it run in a mount namespace of its own, which a shell script prepares, with the state
    /// folder as `$STATE`. Needs root.
    pub fn mounts(&mut self, script: &str) {
        self.mounts = Some(script.to_owned());
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.inner_state().join("kubeconfig")
    }

    /// Returns the path of the log of all its runs.
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Returns the command line of `run`, not started.
    pub fn run_command(&self) -> Command {
        let mut command = program();
        if let Some(script) = &self.mounts {
            std::fs::create_dir_all(self.state()).expect("the state folder");
            let gatelet = command;
            command = Command::new("unshare");
            command.args(["--mount", "--propagation", "private", "sh", "-ec"]);
            command
                .arg(format!("{script}\nexec \"$0\" \"$@\""))
                .arg(gatelet.get_program());
            command.env("STATE", self.state());
            for (name, value) in gatelet.get_envs() {
                assert!(value.is_none(), "only removals");
                command.env_remove(name);
            }
        }
        command.arg("run").arg("--state").arg(self.state());
        if !self.extra.iter().any(|given| given == "--node") {
            command.args(["--node", NODE]);
        }
        for (flag, port) in [
            ("--http", self.http),
            ("--https", self.https),
            ("--api", self.api),
            ("--admin", self.admin),
        ] {
            if !self.extra.iter().any(|given| given == flag) {
                command.arg(flag).arg(format!("127.0.0.1:{port}"));
            }
        }
        command
            .args(&self.extra)
            .envs(self.environment.iter().cloned());
        command
    }

    pub fn spawn(&mut self) {
        self.spawn_command(self.run_command());
    }

    /// Starts another command line as the process of this gatelet: its output goes to the same log,
    /// and it ends with the test.
    pub fn spawn_command(&mut self, mut command: Command) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the log");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log"))
            .stderr(log);
        if let Some(mut before) = self.child.take() {
            // Ended by the test already; otherwise it would outlive it.
            let _ = before.kill();
            let _ = before.wait();
        }
        self.child = Some(command.spawn().expect("gatelet starts"));
    }

    /// Starts another process that takes over from this one, and returns this one; `None` if it has
    /// ended.
    pub fn take_over(&mut self) -> Option<Child> {
        let before = self.child.take();
        let mut command = self.run_command();
        command.arg("--takeover");
        self.spawn_command(command);
        before
    }

    /// Waits until `/readyz` returns 200.
    pub fn wait_ready(&mut self) {
        let url = format!("http://127.0.0.1:{}/readyz", self.admin);
        eventually("gatelet is ready", || {
            let child = self.child.as_mut().expect("it was started");
            if let Some(status) = child.try_wait().expect("its status") {
                panic!("gatelet ended with {status}:\n{}", self.log());
            }
            let answered = Command::new("curl")
                .args(["-sf", "-m", "2", &url])
                .output()
                .expect("curl");
            answered.status.success().then_some(())
        });
    }

    /// Returns status and text of a page at the admin address.
    pub fn admin_page(&self, path: &str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        let said =
            run(Command::new("curl").args(["-sS", "-m", "20", "-w", "\n%{http_code}", &url]));
        let (text, status) = said.rsplit_once('\n').expect("a status");
        (status.parse().expect("a number"), text.to_owned())
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Sends a signal by name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        run(Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.pid().to_string()));
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        eventually("gatelet ends", || child.try_wait().expect("its status"))
    }

    /// Sends SIGKILL, so that it writes nothing more.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("its status");
    }

    pub fn http_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.http))
    }

    pub fn https_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.https))
    }

    /// `kubectl` (the newest) on its mini cluster.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        run(self.kubectl_command(arguments).stdin(Stdio::null()))
    }

    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = peers::kubectl();
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments);
        command.env("HOME", self.folder.path());
        command
    }

    /// Applies manifests, given as text.
    pub fn apply(&self, manifests: &str) -> String {
        let path = self.folder.write("apply.yaml", manifests);
        self.kubectl(&["apply", "-f", path.to_str().expect("a plain path")])
    }

    /// Returns the body that curl gets for a host and path over HTTP; fails unless the status is
    /// below 400.
    pub fn get(&self, host: &str, path: &str) -> String {
        run(&mut self.curl(host, path))
    }

    /// Returns the status for a host and path over HTTP.
    pub fn status_of(&self, host: &str, path: &str) -> u16 {
        let mut command = self.curl(host, path);
        let output = command
            .args(["-o", "/dev/null", "-w", "%{http_code}"])
            .output()
            .expect("curl");
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .unwrap_or(0)
    }

    /// Returns the output of `status -o json`.
    pub fn status(&self) -> serde_json::Value {
        let output = self.command(&["status", "-o", "json"]);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", super::said(&output)))
    }

    /// Returns whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().expect("its status").is_none())
    }

    /// Applies manifests and waits until the host gets 200.
    pub fn serve(&self, manifests: &str, host: &str) {
        self.apply(manifests);
        eventually("the host is served", || {
            (self.status_of(host, "/") == 200).then_some(())
        });
    }

    /// `curl` over HTTPS, which trusts the local CA.
    pub fn curl_tls(&self, host: &str, path: &str) -> Command {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "-m",
            "20",
            "--path-as-is",
            "--resolve",
            &format!("{host}:{}:127.0.0.1", self.https),
        ]);
        command
            .arg("--cacert")
            .arg(self.inner_state().join("ca.pem"));
        command.arg(format!("https://{host}:{}{path}", self.https));
        command
    }

    /// Returns its peak of memory, in KiB, since [`Gatelet::forget_peak`].
    pub fn peak(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("it is there");
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number")
    }

    /// Returns its memory now, without the pages of files, in KiB.
    pub fn memory(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .expect("it is there");
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number")
    }

    /// Resets the peak to the current value.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").expect("it is ours");
    }

    /// `curl` over HTTP; further arguments may follow.
    pub fn curl(&self, host: &str, path: &str) -> Command {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "-m",
            "20",
            "--path-as-is",
            "-H",
            &format!("Host: {host}"),
        ]);
        command.arg(format!("http://127.0.0.1:{}{path}", self.http));
        command
    }

    /// A command of the same binary, such as `status`, with its admin address or state given.
    pub fn command(&self, arguments: &[&str]) -> Output {
        self.command_line(arguments).output().expect("gatelet runs")
    }

    /// The same, for a different place.
    pub fn command_line(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.args(arguments);
        command
            .env("GATELET_ADMIN", format!("127.0.0.1:{}", self.admin))
            .env("GATELET_STATE", self.state());
        command
    }
}

impl Drop for Gatelet {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of gatelet:\n{}", self.log());
        }
    }
}

/// Returns the binary as a command without settings of this machine. `TESTED_PROGRAM` names another
/// one, such as a release, or one for another architecture behind an emulator.
pub fn program() -> Command {
    let built = || env!("CARGO_BIN_EXE_gatelet").into();
    let mut command = Command::new(std::env::var_os("TESTED_PROGRAM").unwrap_or_else(built));
    for (name, _) in std::env::vars() {
        if name.starts_with("GATELET_") || name.starts_with("KUBE") {
            command.env_remove(name);
        }
    }
    command
}
