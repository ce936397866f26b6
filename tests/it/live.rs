//! Changes while traffic goes on: edits, endpoint changes, certificate swaps, SIGTERM, SIGKILL. No
//! request is lost.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::support::{
    Backend, Certificate, Connection, Gatelet, backend, certificates, eventually,
    http::client_config, said,
};

const HOST: &str = "live.example.com";

#[test]
fn edits_and_certificate_swaps_lose_no_request_or_connection() {
    let gatelet = Gatelet::start();
    let (old, new) = (Backend::start("old"), Backend::start("new"));
    let certificate = |file| Certificate::make(&gatelet.folder, file, &[HOST], certificates::ECDSA);
    let (first, second) = (certificate("first"), certificate("second"));
    let ingress = |more: &str| {
        let tls = format!("  tls: [{{hosts: [{HOST}], secretName: live}}]\n{more}");
        backend::ingress("live", HOST, &tls).replace(
            "metadata: {name: live}",
            "metadata: {name: live, annotations: {gatelet.dev/ssl-redirect: \"false\"}}",
        )
    };
    let slice = |backend: &Backend| backend::slice("live", &[backend.port]);
    gatelet.apply(&format!(
        "{}{}{}{}",
        backend::service("live", ""),
        slice(&old),
        first.secret("live"),
        ingress("")
    ));
    eventually("the host is served", || {
        (gatelet.status_of(HOST, "/") == 200).then_some(())
    });
    eventually("its certificate is shown", || {
        (certificates::shown(gatelet.https, HOST) == first.serial).then_some(())
    });

    let over = Arc::new(AtomicBool::new(false));
    let plain = h2load(&["--h1"], "http", gatelet.http, &over);
    let secure = h2load(&["-m", "8"], "https", gatelet.https, &over);
    let kept = Kept::start(4, gatelet.http_addr(), None);
    let kept_secure = Kept::start(2, gatelet.https_addr(), Some(HOST));

    // Edits of this host's rules and settings, and of other objects.
    for round in 0..3 {
        let more = format!(
            "  - host: other-{round}.example.com\n    http: {{paths: [{{path: /{round}, pathType: \
                Exact, backend: {{service: {{name: live, port: {{number: 80}}}}}}}}]}}\n"
        );
        let edited = ingress("").replace("  rules:\n", &format!("  rules:\n{more}"));
        gatelet.apply(&format!(
            "{edited}{}",
            backend::ingress(&format!("beside-{round}"), "beside.example.com", "")
                .replace("name: beside", "name: live")
        ));
        let path = format!("/{round}");
        eventually("the edit is live", || {
            (gatelet.status_of(&format!("other-{round}.example.com"), &path) == 200).then_some(())
        });
    }
    gatelet.apply(&ingress(""));
    eventually("the last edit is live", || {
        (gatelet.status_of("other-2.example.com", "/2") == 404).then_some(())
    });

    // Certificates: new handshakes get the new one, open connections continue.
    for (file, certificate) in [("second", &second), ("first", &first), ("second", &second)] {
        gatelet.apply(&certificate.secret("live"));
        eventually(file, || {
            (certificates::shown(gatelet.https, HOST) == certificate.serial).then_some(())
        });
    }

    // Endpoints: one is added, then the old one is removed, and only then does its process end.
    gatelet.apply(&backend::slice("live", &[old.port, new.port]));
    eventually("the new endpoint gets requests", || {
        (new.count() > 50).then_some(())
    });
    gatelet.kubectl(&["delete", "endpointslice", "live-1"]);
    eventually("the old endpoint gets no more", || {
        let before = old.count();
        thread::sleep(Duration::from_millis(100));
        (old.count() == before).then_some(())
    });
    old.stop();
    let third = Backend::start("third");
    gatelet.apply(&slice(&third));
    eventually("the third endpoint gets requests", || {
        (third.count() > 50).then_some(())
    });

    over.store(true, SeqCst);
    let (asked, asked_secure) = (kept.stop(), kept_secure.stop());
    assert!(
        asked > 100 && asked_secure > 100,
        "{asked} and {asked_secure} requests"
    );
    plain.join().expect("no request was lost");
    secure.join().expect("no request was lost");
}

#[test]
fn sigterm_under_load_fails_no_request_and_ends_with_0() {
    let mut gatelet = Gatelet::configured("grace = \"20s\"\n");
    let backend = Backend::start("drain");
    gatelet.apply(&backend.manifests("drain", HOST));
    eventually("the host is served", || {
        (gatelet.status_of(HOST, "/") == 200).then_some(())
    });
    let kept = Drained::start(6, gatelet.http_addr(), None);
    let kept_secure = Drained::start(3, gatelet.https_addr(), Some(HOST));
    let asked_multiplexed = Arc::new(AtomicU64::new(0));
    let multiplexed = multiplexed(gatelet.https_addr(), &asked_multiplexed);
    let mut slow = Connection::open(gatelet.http_addr()).expect("a connection");
    let mut upload = Connection::open(gatelet.http_addr()).expect("a connection");
    eventually("all of them ask", || {
        (kept
            .asked()
            .min(kept_secure.asked())
            .min(asked_multiplexed.load(SeqCst))
            > 100)
            .then_some(())
    });
    slow.send(format!("GET /slow/1500 HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())
        .expect("sent");
    upload
        .send(format!("PUT /up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 4\r\n\r\nab").as_bytes())
        .expect("sent");
    eventually("the upload has begun", || {
        (backend.received() >= 2).then_some(())
    });

    gatelet.signal("TERM");
    eventually("nothing is accepted any more", || {
        Connection::open(gatelet.http_addr()).is_err().then_some(())
    });
    upload.send(b"cd").expect("the connection is still there");
    let answer = upload.answer().expect("the upload has a response");
    assert!(
        answer.status == 200 && answer.text().ends_with("abcd") && answer.closes(),
        "{answer:?}"
    );
    let answer = slow.answer().expect("the slow request has a response");
    assert!(answer.status == 200 && answer.closes(), "{answer:?}");
    assert_eq!(gatelet.wait().code(), Some(0));
    kept.finish();
    kept_secure.finish();
    let failed = multiplexed.join().expect("no panic");
    assert!(failed.is_empty(), "requests over HTTP/2 failed: {failed:?}");
}

#[test]
fn a_second_signal_ends_at_once() {
    // The grace time is longer than every wait in this test.
    let mut gatelet = Gatelet::configured("grace = \"10m\"\n");
    let backend = Backend::start("hang");
    gatelet.apply(&backend.manifests("hang", HOST));
    eventually("the host is served", || {
        (gatelet.status_of(HOST, "/") == 200).then_some(())
    });
    let mut stuck = Connection::open(gatelet.http_addr()).expect("a connection");
    stuck
        .send(format!("GET /hang HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())
        .expect("sent");
    eventually("the backend has the request", || {
        (backend.count() == 2).then_some(())
    });
    gatelet.signal("TERM");
    eventually("it drains", || {
        gatelet.log().contains("draining").then_some(())
    });
    assert!(gatelet.is_running(), "a request is in flight");
    gatelet.signal("TERM");
    gatelet.wait();
    assert!(stuck.answer().is_err(), "the request was broken off");
}

#[test]
fn acknowledged_objects_are_served_after_sigkill() {
    const OBJECTS: usize = 300;
    let mut gatelet = Gatelet::start();
    let backend = Backend::start("kept");
    gatelet.apply(&format!(
        "{}{}",
        backend::service("kept", ""),
        backend::slice("kept", &[backend.port])
    ));
    let many: String = (0..OBJECTS)
        .map(|n| {
            backend::ingress(&format!("kept-{n}"), &format!("kept-{n}.example.com"), "").replace(
                &format!("service: {{name: kept-{n}"),
                "service: {name: kept",
            )
        })
        .collect();
    let path = gatelet.folder.write("many.yaml", &many);
    let mut apply = gatelet.kubectl_command(&["apply", "-f", path.to_str().expect("a plain path")]);
    let mut apply = apply
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("kubectl");
    let mut acknowledged = Vec::new();
    for line in BufReader::new(apply.stdout.take().expect("a pipe")).lines() {
        let line = line.expect("text");
        acknowledged.push(
            line.strip_suffix(" created")
                .expect("it was created")
                .to_owned(),
        );
        if acknowledged.len() == OBJECTS / 3 {
            gatelet.kill();
        }
    }
    assert!(
        !apply.wait().expect("its status").success(),
        "it was killed in the middle"
    );
    assert!(acknowledged.len() < OBJECTS, "{}", acknowledged.len());

    gatelet.spawn();
    gatelet.wait_ready();
    let there = gatelet.kubectl(&["get", "ingress", "-o", "name"]);
    let there: std::collections::BTreeSet<_> = there.lines().collect();
    let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
    for name in &acknowledged {
        assert!(
            there.contains(name.as_str()),
            "{name} was acknowledged and is gone"
        );
        let host = format!("{}.example.com", name.rsplit('/').next().expect("a name"));
        assert_eq!(
            connection.get(&host, "/").expect("a response").status,
            200,
            "{host}"
        );
    }
    let again = gatelet.apply(&many);
    assert_eq!(
        again.lines().count(),
        OBJECTS,
        "the rest can be applied: {again}"
    );
}

/// Runs h2load in the background on eight connections, a few seconds at a time, until the end of
/// the test.
fn h2load(arguments: &[&str], scheme: &str, port: u16, over: &Arc<AtomicBool>) -> JoinHandle<()> {
    let mut command = Command::new("h2load");
    command
        .args(["-c", "8", "-t", "1", "-D", "5"])
        .args(arguments);
    command
        .arg(format!("--connect-to=127.0.0.1:{port}"))
        .arg(format!("{scheme}://{HOST}:{port}/"));
    let over = over.clone();
    thread::spawn(move || {
        while !over.load(SeqCst) {
            assert_lossless(&command.output().expect("h2load"));
        }
    })
}

fn assert_lossless(output: &Output) {
    let said = said(output);
    let number = |before: &str, after: &str| -> u64 {
        let line = said
            .lines()
            .find(|line| line.starts_with(before))
            .unwrap_or_else(|| panic!("{said}"));
        let part = line
            .split(", ")
            .find(|part| part.ends_with(after))
            .unwrap_or_else(|| panic!("{said}"));
        part.trim_start_matches(before)
            .trim()
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .expect("a number")
    };
    assert_eq!(
        (
            number("requests:", "failed"),
            number("requests:", "errored")
        ),
        (0, 0),
        "{said}"
    );
    // h2load counts a status at the head and a success at the end, so they may differ when its time
    // is up.
    for class in ["3xx", "4xx", "5xx"] {
        assert_eq!(number("status codes:", class), 0, "{said}");
    }
    assert!(number("requests:", "succeeded") > 0, "{said}");
}

fn open(addr: SocketAddr, name: Option<&str>) -> std::io::Result<Connection> {
    match name {
        Some(name) => Connection::tls(addr, name, &["http/1.1"]),
        None => Connection::open(addr),
    }
}

/// Clients that send requests over one connection each, which must never close.
struct Kept {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Kept {
    fn start(clients: usize, addr: SocketAddr, name: Option<&'static str>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let stop = stop.clone();
            thread::spawn(move || {
                let mut connection = open(addr, name).expect("a connection");
                let mut asked = 0;
                while !stop.load(SeqCst) {
                    let answer = connection.get(HOST, "/kept").unwrap_or_else(|error| {
                        panic!("request {asked} on one connection (TLS: {name:?}) failed: {error}")
                    });
                    assert!(answer.status == 200 && !answer.closes(), "{answer:?}");
                    asked += 1;
                }
                asked
            })
        };
        Self {
            threads: (0..clients).map(client).collect(),
            stop,
        }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, SeqCst);
        self.threads
            .into_iter()
            .map(|thread| thread.join().expect("no request was lost"))
            .sum()
    }
}

/// Clients that send requests until `Connection: close` or a refused connection ends them.
struct Drained {
    asked: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
    failures: Arc<Mutex<Vec<String>>>,
}

impl Drained {
    fn start(clients: usize, addr: SocketAddr, name: Option<&'static str>) -> Self {
        let (asked, failures) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(Mutex::new(Vec::new())),
        );
        let client = |_| {
            let (asked, failures) = (asked.clone(), failures.clone());
            thread::spawn(move || {
                while let Ok(mut connection) = open(addr, name) {
                    loop {
                        match connection.get(HOST, "/drained") {
                            Ok(answer) if answer.status == 200 => {
                                asked.fetch_add(1, SeqCst);
                                if answer.closes() {
                                    break;
                                }
                            }
                            failed => {
                                return failures
                                    .lock()
                                    .expect("no panic")
                                    .push(format!("{name:?}: {failed:?}"));
                            }
                        }
                    }
                }
            })
        };
        Self {
            threads: (0..clients).map(client).collect(),
            asked,
            failures,
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(SeqCst)
    }

    fn finish(self) {
        for thread in self.threads {
            thread.join().expect("no panic");
        }
        let failures = self.failures.lock().expect("no panic");
        assert!(failures.is_empty(), "{failures:?}");
    }
}

/// Sends requests over HTTP/2, four at a time, until GOAWAY. Counts the responses and returns the
/// failures. A request that the server has not processed by its own statement may be sent elsewhere
/// and is not a failure.
fn multiplexed(addr: SocketAddr, asked: &Arc<AtomicU64>) -> JoinHandle<Vec<String>> {
    use http_body_util::BodyExt as _;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    type Empty = http_body_util::Empty<bytes::Bytes>;

    async fn client(addr: SocketAddr, asked: Arc<AtomicU64>) -> Vec<String> {
        let connector = tokio_rustls::TlsConnector::from(Arc::new(client_config(&["h2"])));
        let tcp = tokio::net::TcpStream::connect(addr)
            .await
            .expect("a connection");
        let stream = connector
            .connect(HOST.try_into().expect("a name"), tcp)
            .await
            .expect("TLS");
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        let driver = tokio::spawn(connection);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (mut sender, asked) = (sender.clone(), asked.clone());
            tasks.spawn(async move {
                loop {
                    if sender.ready().await.is_err() {
                        return None;
                    }
                    let request = http::Request::get(format!("https://{HOST}/h2"))
                        .body(Empty::new())
                        .expect("valid");
                    match sender.try_send_request(request).await {
                        Ok(answer) if answer.status() == 200 => {
                            match answer.into_body().collect().await {
                                Ok(_) => drop(asked.fetch_add(1, SeqCst)),
                                Err(error) => return Some(format!("body: {error:?}")),
                            }
                        }
                        Ok(answer) => return Some(answer.status().to_string()),
                        Err(mut error) => {
                            let unsent = error.take_message().is_some();
                            return (!unsent).then(|| format!("{:?}", error.into_error()));
                        }
                    }
                }
            });
        }
        drop(sender);
        let mut failed = Vec::new();
        while let Some(done) = tasks.join_next().await {
            failed.extend(done.expect("no panic"));
        }
        let _ = driver.await;
        failed
    }

    let asked = asked.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(client(addr, asked))
    })
}
