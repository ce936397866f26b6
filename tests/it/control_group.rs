//! A process in a control group of 64 MiB, with the settings of the defaults: clients of all kinds
//! take what they can get, and it does not die.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use rcgen::{CertificateParams, KeyPair};

use super::{
    memory_budget::{unread_http1, unread_http2},
    support::{Backend, Gatelet, backend, eventually, peers::script},
};

const LIMIT: u64 = 64 << 20;
const HOSTS: usize = 500;
const CLIENTS: usize = 5000;

/// A control group with a limit of memory, removed with its test.
struct Group {
    folder: PathBuf,
    /// True for version 2.
    is_unified: bool,
}

impl Group {
    /// Makes it; `None` where this process may not.
    fn new() -> Option<Self> {
        let name = format!("gatelet-{}", std::process::id());
        let version_1 = Path::new("/sys/fs/cgroup/memory");
        let is_unified = !version_1.join("memory.limit_in_bytes").exists();
        let (root, limit) = match is_unified {
            true => (Path::new("/sys/fs/cgroup"), "memory.max"),
            false => (version_1, "memory.limit_in_bytes"),
        };
        let folder = root.join(name);
        fs::create_dir(&folder).ok()?;
        let group = Self { folder, is_unified };
        fs::write(group.folder.join(limit), LIMIT.to_string()).ok()?;
        Some(group)
    }

    /// Returns the number of processes that the kernel has killed for lack of memory.
    fn killed(&self) -> u64 {
        let file = match self.is_unified {
            true => "memory.events",
            false => "memory.oom_control",
        };
        let text = fs::read_to_string(self.folder.join(file)).expect("it is there");
        let number = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        number.map_or(0, |number| number.parse().expect("a number"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It can be removed once its last process is gone.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn host(number: usize) -> String {
    format!("host{number}.example.com")
}

/// Returns Secrets with a certificate of its own each, and Ingresses that name them.
fn manifests(port: u16) -> String {
    let mut text = backend::service("group", "") + &backend::slice("group", &[port]);
    for number in 0..HOSTS {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([host(number)]).expect("names");
        let certificate = params.self_signed(&key).expect("a certificate");
        let indented = |pem: String| pem.replace('\n', "\n    ");
        text += &format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: own{number}}}\ntype: \
             kubernetes.io/tls\nstringData:\n  tls.crt: |\n    {}\n  tls.key: |\n    {}\n---\n\
             apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: own{number}, \
             annotations: {{gatelet.dev/ssl-redirect: 'false'}}}}\nspec:\n  tls: [{{hosts: \
             [{host}], secretName: own{number}}}]\n  rules: [{{host: {host}, http: {{paths: \
             [{{path: /, pathType: Prefix, backend: {{service: {{name: group, port: {{number: \
             80}}}}}}}}]}}}}]\n---\n",
            indented(certificate.pem()),
            indented(key.serialize_pem()),
            host = host(number),
        );
    }
    text
}

/// Uploads 1 MiB to a backend that takes nothing.
fn upload(to: SocketAddr) -> Option<TcpStream> {
    let mut client = TcpStream::connect(to).ok()?;
    let head = format!(
        "POST /stuck HTTP/1.1\r\nHost: {}\r\nContent-Length: 1048576\r\n\r\n",
        host(0)
    );
    client.write_all(head.as_bytes()).ok()?;
    client
        .set_write_timeout(Some(Duration::from_millis(200)))
        .ok()?;
    for _ in 0..64 {
        if client.write_all(&[b'x'; 16 * 1024]).is_err() {
            break;
        }
    }
    Some(client)
}

#[test]
fn in_a_control_group_of_64_mib_it_does_not_die() {
    let Some(group) = Group::new() else {
        eprintln!("LEFT OUT: this process may not make control groups with a limit of memory");
        return;
    };
    let mut gatelet = Gatelet::prepare(&[]);
    let run = gatelet.run_command();
    let mut command = Command::new("sh");
    command
        .args(["-ec", "echo $$ >\"$0/cgroup.procs\"; exec \"$@\""])
        .arg(&group.folder)
        .arg(run.get_program())
        .args(run.get_args());
    gatelet.spawn_command(command);
    gatelet.wait_ready();
    let pid = gatelet.pid();
    let (_, metrics) = gatelet.admin_page("/metrics");
    let budget = format!("gatelet_memory_budget_bytes {}\n", LIMIT / 4 * 3);
    assert!(metrics.contains(&budget), "{metrics}");

    let backend = Backend::start("group");
    gatelet.apply(&manifests(backend.port));
    eventually("all hosts are served", || {
        (gatelet.status_of(&host(HOSTS - 1), "/") == 200).then_some(())
    });
    let before = gatelet.memory();

    let mut crowd = script("crowd.py")
        .args([&host(0), &gatelet.http.to_string(), &CLIENTS.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python");
    let mut said = BufReader::new(crowd.stdout.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    assert_eq!(line, "open\n");

    let to = gatelet.http_addr();
    let uploads: Vec<_> = (0..100).map(|_| upload(to)).collect();
    let unread: Vec<_> = (0..60).map(|_| unread_http2(to, &host(0))).collect();
    let plain: Vec<_> = (0..300).map(|_| unread_http1(to, &host(0))).collect();
    thread::sleep(Duration::from_secs(10));
    assert_eq!(gatelet.pid(), pid);
    assert!(gatelet.is_running(), "{}", gatelet.log());
    drop((uploads, unread, plain));
    drop(crowd.stdin.take());
    let mut statuses = String::new();
    said.read_to_string(&mut statuses).expect("text");
    let _ = crowd.wait();

    eventually("requests are served again", || {
        (gatelet.status_of(&host(1), "/") == 200).then_some(())
    });
    eventually("the memory is given back", || {
        (gatelet.memory() < before + 8 * 1024).then_some(())
    });
    let (_, metrics) = gatelet.admin_page("/metrics");
    let shed = metrics
        .lines()
        .find(|line| line.starts_with("gatelet_memory_shed_total"));
    println!(
        "before {before} KiB, after {} KiB, {statuses}{shed:?}",
        gatelet.memory()
    );
    assert_eq!(group.killed(), 0, "{}", gatelet.log());
    assert!(statuses.contains("200="), "{statuses}");
    gatelet.signal("TERM");
    assert_eq!(gatelet.wait().code(), Some(0));
    drop(group);
}
