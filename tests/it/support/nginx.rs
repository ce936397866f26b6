//! A real nginx, as a backend or as the proxy that gatelet is compared with.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::{Folder, eventually, free_port, peers::server_program};

/// Returns the nginx of the system, or the one that `tests/run` has unpacked. Without either,
/// prints a note and returns `None`.
pub fn program() -> Option<Command> {
    let installed = Path::new("/usr/sbin/nginx");
    match installed.exists() {
        true => Some(Command::new(installed)),
        false => server_program("usr/sbin/nginx"),
    }
}

/// A real nginx, ended with its test.
pub struct Nginx {
    pub port: u16,
    process: Child,
    folder: Folder,
}

impl Nginx {
    /// Starts it with the content of a `server`, which listens for plain HTTP too.
    pub fn start(server: &str) -> Self {
        Self::start_in(Folder::new(), server)
    }

    /// The same with a folder that has files of the configuration.
    pub fn start_in(folder: Folder, server: &str) -> Self {
        Self::start_with(folder, "", server)
    }

    /// The same with directives that stand before the `server`.
    pub fn start_with(folder: Folder, http: &str, server: &str) -> Self {
        let port = free_port();
        let at = folder.path().display();
        let text = format!(
            "daemon off; pid {at}/pid; error_log {at}/errors; worker_processes 1; user root;
events {{}}
http {{
  access_log {at}/access;
  client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3;
  uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;
  {http}
  server {{
    listen 127.0.0.1:{port};
    {server}
  }}
}}
"
        );
        let config = folder.write("nginx.conf", &text);
        let mut command = program().expect("nginx is there");
        command.arg("-c").arg(config).stderr(Stdio::null());
        let process = command.spawn().expect("nginx starts");
        eventually("nginx listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self {
            port,
            process,
            folder,
        }
    }

    /// Returns true if it has responded to a request for this path.
    pub fn was_asked(&self, path: &str) -> bool {
        let log = fs::read_to_string(self.folder.path().join("access"));
        log.expect("a log").contains(&format!(" {path} HTTP/"))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // A signal that it can handle, so that its workers end too.
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let _ = self.process.wait();
    }
}
