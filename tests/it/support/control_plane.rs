//! A real Kubernetes control plane in a network namespace of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

use super::{Folder, eventually, peers, run};

/// etcd, kube-apiserver and kube-controller-manager in a namespace whose only interface is `lo`.
/// Ends with its test.
#[derive(Debug)]
pub struct ControlPlane {
    folder: Folder,
    /// The process whose end takes everything down. It ends when its input is closed.
    up: Child,
    input: Option<ChildStdin>,
    /// The parts that were restarted.
    again: Vec<Child>,
    /// A process in the namespace.
    inside: u32,
}

impl ControlPlane {
    /// Starts a control plane; prints a note and returns `None` where that is not possible.
    pub fn start() -> Option<Self> {
        let cluster = peers::control_plane()?;
        let may = Command::new("unshare").args(["--net", "true"]).output();
        if !may.is_ok_and(|output| output.status.success()) {
            eprintln!(
                "LEFT OUT: no network namespace can be made here (root is needed for the control \
                    plane)"
            );
            return None;
        }
        let folder = Folder::new();
        let mut up =
            Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubernetes/up"));
        up.arg(folder.path().join("cluster")).args([
            "sh",
            "-c",
            "echo $$ >inside.new; mv inside.new inside; exec cat",
        ]);
        up.current_dir(folder.path())
            .env("CLUSTER", cluster)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut up = up.spawn().expect("the control plane starts");
        let input = up.stdin.take();
        let inside = eventually("the control plane is ready", || {
            assert!(
                up.try_wait().expect("its status").is_none(),
                "the control plane ended"
            );
            fs::read_to_string(folder.path().join("inside"))
                .ok()?
                .trim()
                .parse()
                .ok()
        });
        Some(Self {
            folder,
            up,
            input,
            again: Vec::new(),
            inside,
        })
    }

    /// Returns the kubeconfig of its administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("cluster/admin.kubeconfig")
    }

    /// Returns the same command in the namespace of the control plane.
    pub fn beside(&self, command: &Command) -> Command {
        within(self.inside, command)
    }

    /// A process of its namespace.
    pub fn inside(&self) -> u32 {
        self.inside
    }

    /// `kubectl` (the newest) as its administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        run(self.kubectl_command(arguments).stdin(Stdio::null()))
    }

    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        let mut command = peers::kubectl();
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments)
            .env("HOME", self.folder.path());
        self.beside(&command)
    }

    /// Applies manifests, given as text.
    pub fn apply(&self, manifests: &str) -> String {
        let path = self.folder.write("apply.yaml", manifests);
        self.kubectl(&["apply", "-f", path.to_str().expect("a plain path")])
    }

    /// Serves the files of a folder over HTTP, at an address of its own.
    pub fn serve(&self, folder: &Folder, (address, port): (&str, u16)) -> FileServer {
        let mut ip = Command::new("ip");
        ip.args(["addr", "add", &format!("{address}/32"), "dev", "lo"]);
        run(&mut self.beside(&ip));

        let mut server = peers::python();
        server
            .args(["-m", "http.server", "--bind", address, "--directory"])
            .arg(folder.path())
            .arg(port.to_string());
        let mut server = self.beside(&server);
        server
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        FileServer(server.spawn().expect("python"))
    }

    /// Kills the API server with SIGKILL. The returned value starts it again unchanged.
    pub fn kill_api_server(&self) -> Command {
        let file = self.folder.path().join("cluster/kube-apiserver.pid");
        let pid = self.again.last().map_or_else(
            || {
                fs::read_to_string(file)
                    .expect("its file")
                    .trim()
                    .to_owned()
            },
            |child| child.id().to_string(),
        );
        let line = fs::read(format!("/proc/{pid}/cmdline")).expect("it runs");
        let words: Vec<String> = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        run(Command::new("kill").args(["-KILL", &pid]));
        // Its port is free once all its threads are gone; a zombie has no command
        // line.
        eventually("it is gone", || {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (threads <= 1 && line.is_empty()).then_some(())
        });
        // The kernel may close its listener a moment later.
        eventually("its port is free", || {
            let asked = self
                .kubectl_command(&["get", "--raw", "/version"])
                .output()
                .expect("kubectl");
            String::from_utf8_lossy(&asked.stderr)
                .contains("refused")
                .then_some(())
        });
        let mut command = Command::new(&words[0]);
        command.args(&words[1..words.len() - 1]);
        self.beside(&command)
    }

    /// Starts the killed process again.
    pub fn spawn(&mut self, command: &mut Command) {
        let log = fs::File::create(self.folder.path().join("again.log")).expect("a log");
        self.again.push(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("it starts"),
        );
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        drop(self.input.take());
        for child in &mut self.again {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.up.wait();
    }
}

/// A server of files in the namespace of a control plane. Killed with its test.
#[derive(Debug)]
pub struct FileServer(Child);

impl Drop for FileServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command in the network namespace of a process.
pub fn within(pid: u32, command: &Command) -> Command {
    let mut entered = Command::new("nsenter");
    entered
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .arg("--")
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => entered.env(name, value),
            None => entered.env_remove(name),
        };
    }
    entered
}
