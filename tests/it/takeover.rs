//! `gatelet run --takeover`: another process takes the place of one that serves.

use std::{
    net::{SocketAddr, TcpListener},
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
};

use super::support::{Backend, Connection, Gatelet, backend, eventually};

const HOST: &str = "takeover.example.com";

/// The process that gives its place; it ends with the test.
struct Predecessor(Child);

impl Drop for Predecessor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Predecessor {
    fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("its status").is_none()
    }

    fn wait(&mut self) -> Option<i32> {
        eventually("the process before ends", || {
            self.0.try_wait().expect("its status")
        })
        .code()
    }
}

/// Clients that ask all the time.
struct Clients {
    over: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts clients that keep their connection, and others with a new one for each request.
    fn start(http: SocketAddr, https: SocketAddr) -> Self {
        let (over, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let client = |secure: bool, keeps: bool| {
            let (over, asked) = (over.clone(), asked.clone());
            thread::spawn(move || {
                let open = || match secure {
                    true => Connection::tls(https, HOST, &["http/1.1"]),
                    false => Connection::open(http),
                };
                let mut kept = None;
                while !over.load(SeqCst) {
                    let reused: Option<Connection> = kept.take();
                    let is_reused = reused.is_some();
                    let mut connection = reused.unwrap_or_else(|| open().expect("a connection"));
                    let answer = match connection.get(HOST, "/") {
                        // An idle connection may end at any time, also while a busy machine delays
                        // its client: RFC 9112 section 9.3.1 lets that send the request again.
                        Err(_) if is_reused => continue,
                        answer => answer.expect("a response"),
                    };
                    assert_eq!(answer.status, 200);
                    asked.fetch_add(1, SeqCst);
                    kept = (keeps && !answer.closes()).then_some(connection);
                }
            })
        };
        let threads = [(false, true), (false, false), (true, true), (true, false)];
        let threads = threads.map(|(secure, keeps)| client(secure, keeps)).into();
        Self {
            over,
            asked,
            threads,
        }
    }

    /// Waits until they have got more responses.
    fn go_on(&self) {
        let before = self.asked.load(SeqCst);
        eventually("the clients get responses", || {
            (self.asked.load(SeqCst) > before + 100).then_some(())
        });
    }

    /// Ends them. None may have failed.
    fn end(self) {
        self.over.store(true, SeqCst);
        for thread in self.threads {
            thread.join().expect("no request fails");
        }
    }
}

/// Returns a gatelet that serves a backend, also on a port of layer 4.
fn serving(backend: &Backend, tcp: u16) -> Gatelet {
    let gatelet = Gatelet::configured("grace = \"20s\"\nssl_redirect = false\n");
    let service = backend::service("takeover", "").replace(
        "metadata: {name: takeover}",
        &format!(
            "metadata: {{name: takeover, annotations: {{gatelet.dev/tcp-listen: '{tcp}:80'}}}}"
        ),
    );
    gatelet.serve(
        &(service
            + &backend::slice("takeover", &[backend.port])
            + &backend::ingress("takeover", HOST, "")),
        HOST,
    );
    gatelet
}

#[test]
fn a_takeover_loses_no_request_and_no_object() {
    let backend = Backend::start("app");
    let tcp = super::support::free_port();
    let mut gatelet = serving(&backend, tcp);
    let through_port = || {
        let addr = SocketAddr::from(([127, 0, 0, 1], tcp));
        let mut connection = Connection::open(addr).ok()?;
        let answer = connection.get(HOST, "/").ok()?;
        (answer.status == 200).then_some(())
    };
    eventually("the port is open", through_port);

    let mut slow = Connection::open(gatelet.http_addr()).expect("a connection");
    let clients = Clients::start(gatelet.http_addr(), gatelet.https_addr());
    clients.go_on();
    for round in 0..2 {
        if round == 0 {
            let request = format!("GET /slow/3000 HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
            slow.send(request.as_bytes()).expect("sent");
        }
        let mut before = Predecessor(gatelet.take_over().expect("it was started"));
        let code = before.wait();
        assert_eq!(code, Some(0), "{}", gatelet.log());
        gatelet.wait_ready();
        clients.go_on();
        through_port().expect("the port is open");

        // The new process has the state.
        let name = format!("config-{round}");
        gatelet.kubectl(&["create", "configmap", &name]);
        assert!(
            gatelet
                .kubectl(&["get", "ingress", "takeover"])
                .contains(HOST)
        );
    }
    clients.end();
    assert_eq!(slow.answer().expect("a response").status, 200);
    let maps = gatelet.kubectl(&["get", "configmaps", "-o", "name"]);
    assert!(
        maps.contains("config-0") && maps.contains("config-1"),
        "{maps}"
    );
}

#[test]
fn if_the_successor_cannot_serve_the_process_serves_on() {
    let backend = Backend::start("app");
    let mut gatelet = serving(&backend, super::support::free_port());
    let clients = Clients::start(gatelet.http_addr(), gatelet.https_addr());
    clients.go_on();

    // Its admin address is that of another program.
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = gatelet.admin;
    gatelet.admin = other.local_addr().expect("bound").port();
    let mut before = Predecessor(gatelet.take_over().expect("it was started"));
    assert_ne!(gatelet.wait().code(), Some(0), "{}", gatelet.log());
    gatelet.admin = admin;
    eventually("the process knows", || {
        gatelet
            .log()
            .contains("serves on with its last routes")
            .then_some(())
    });
    clients.go_on();
    assert!(before.is_running(), "{}", gatelet.log());

    drop(gatelet.take_over());
    assert_eq!(before.wait(), Some(0), "{}", gatelet.log());
    gatelet.wait_ready();
    clients.go_on();
    clients.end();
}

#[test]
fn without_a_process_a_takeover_is_a_start() {
    let mut gatelet = Gatelet::prepare(&["--takeover"]);
    gatelet.spawn();
    gatelet.wait_ready();
}
