use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use super::{
    super::support::{Backend, Folder, backend, eventually},
    following, logs,
};

/// An API server without TLS that responds to lists and watches with given data, and refuses the
/// first write.
struct Server {
    port: u16,
    /// The method and path of each write.
    written: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// `lists` holds the items of each resource, `watches` the lines that its first watch receives.
    fn start(lists: HashMap<&'static str, String>, watches: HashMap<&'static str, String>) -> Self {
        Self::changing(Arc::new(Mutex::new(lists)), watches)
    }

    /// The same with lists that may change.
    fn changing(
        lists: Arc<Mutex<HashMap<&'static str, String>>>,
        watches: HashMap<&'static str, String>,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let written: Arc<Mutex<Vec<String>>> = Arc::default();
        let (noted, watches) = (written.clone(), Arc::new(Mutex::new(watches)));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (lists, watches, noted) = (lists.clone(), watches.clone(), noted.clone());
                thread::spawn(move || {
                    let lists = || lists.lock().expect("no panic").clone();
                    while answer(&stream, &lists, &watches, &noted).is_some() {}
                });
            }
        });
        Self { port, written }
    }
}

/// Reads a request and responds to it; `None` when the connection is finished.
fn answer(
    mut stream: &TcpStream,
    lists: &dyn Fn() -> HashMap<&'static str, String>,
    watches: &Mutex<HashMap<&str, String>>,
    written: &Mutex<Vec<String>>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = backend::field(&head, "content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    reader.read_exact(&mut vec![0; length]).ok()?;
    let mut words = head.split(' ');
    let (method, url) = (words.next()?, words.next()?);
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let plural = path.rsplit('/').next()?;
    let lists = lists();
    let (status, body) = if query.contains("watch=true") {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
            .ok()?;
        let lines = watches
            .lock()
            .expect("no panic")
            .remove(plural)
            .unwrap_or_default();
        stream.write_all(lines.as_bytes()).ok()?;
        if lines.is_empty() {
            // Runs until the other side is gone.
            let _ = stream.read(&mut [0; 1]);
        }
        return None;
    } else if plural == "middlewares" && !lists.contains_key("middlewares") {
        // As where the definitions of Traefik are not installed.
        ("404 Not Found", "404 page not found\n".to_owned())
    } else if path.contains("/leases") {
        ("404 Not Found", "no object\n".to_owned())
    } else if method == "GET" {
        let items = lists.get(plural).map_or("[]", String::as_str);
        (
            "200 OK",
            format!(r#"{{"metadata":{{"resourceVersion":"9"}},"items":{items}}}"#),
        )
    } else {
        let mut written = written.lock().expect("no panic");
        written.push(format!("{method} {path}"));
        if written.len() == 1 {
            ("503 Service Unavailable", "{}".to_owned())
        } else {
            ("200 OK", "{}".to_owned())
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).ok()
}

fn ingress(name: &str, port: u16) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"default",
        "uid":"{name}","resourceVersion":"8"}},
        "spec":{{"ingressClassName":"gatelet","rules":[{{"host":"{name}.example.com",
        "http":{{"paths":[{{"path":"/","pathType":"Prefix",
        "backend":{{"service":{{"name":"web","port":{{"number":{port}}}}}}}}}]}}}}]}}}}"#
    )
    .replace('\n', "")
}

/// Writes a kubeconfig for a server.
fn kubeconfig(folder: &Folder, server: &Server) -> PathBuf {
    folder.write(
        "kubeconfig",
        &format!(
            "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: \
                {{cluster: c, user: u}}}}], \
             clusters: [{{name: c, cluster: {{server: 'http://127.0.0.1:{}'}}}}], users: [{{name: \
             u, user: {{}}}}]}}",
            server.port
        ),
    )
}

fn event(change: &str, object: &str) -> String {
    format!("{{\"type\":\"{change}\",\"object\":{object}}}\n")
}

#[test]
fn unreadable_objects_harm_no_other_and_refused_writes_repeat() {
    const UNNAMED: &str = r#"{"metadata":{"name":7}}"#;
    const ODD: &str = concat!(
        r#"{"metadata":{"name":"odd","namespace":"default","uid":"odd","resourceVersion":"8"},"#,
        r#""spec":{"rules":"text"}}"#
    );
    let backend = Backend::start("strange");
    let (one, two) = (ingress("one", backend.port), ingress("two", backend.port));
    let class =
        r#"{"metadata":{"name":"gatelet"},"spec":{"controller":"gatelet.dev/ingress-controller"}}"#;
    let service = concat!(
        r#"{"metadata":{"name":"web","namespace":"default"},"#,
        r#""spec":{"type":"ExternalName","externalName":"localhost"}}"#
    );
    let lists = HashMap::from([
        ("ingressclasses", format!("[7,{class}]")),
        ("services", format!("[{UNNAMED},{service},null]")),
        ("secrets", "null".to_owned()),
        ("ingresses", format!("[{UNNAMED},{ODD},{one},[]]")),
    ]);
    let expired =
        r#"{"kind":"Status","status":"Failure","code":410,"reason":"Expired","message":"too old"}"#;
    let watches = HashMap::from([
        (
            "ingresses",
            [
                event("MODIFIED", UNNAMED),
                event("ADDED", "7"),
                event("MODIFIED", ODD),
                event("ADDED", &two),
            ]
            .concat(),
        ),
        (
            "services",
            [event("ADDED", UNNAMED), event("ERROR", expired)].concat(),
        ),
        // It gets no watch at all.
        ("endpointslices", "<html>\n".to_owned()),
    ]);
    let server = Server::start(lists, watches);
    let folder = Folder::new();
    let mut gatelet = following(&kubeconfig(&folder, &server));
    gatelet.spawn();
    gatelet.wait_ready();
    assert_eq!(gatelet.status_of("one.example.com", "/"), 200);
    eventually("what came after the unreadable", || {
        (gatelet.status_of("two.example.com", "/") == 200).then_some(())
    });
    assert_eq!(gatelet.status_of("one.example.com", "/"), 200);
    logs(
        &gatelet,
        "an object of the cluster cannot be read and is skipped",
    );
    let unread = gatelet.status()["unread"].to_string();
    assert!(!unread.contains("Middleware"), "{unread}");
    assert!(!gatelet.log().contains("Middleware"), "{}", gatelet.log());
    let findings = gatelet.status()["findings"].to_string();
    assert!(
        findings.contains("Undecodable") && findings.contains("odd"),
        "{findings}"
    );
    eventually(
        "both statuses and the Event are written, though the first write was refused",
        || {
            let written = server.written.lock().expect("no panic").clone();
            let count = |of: &str| written.iter().filter(|write| write.contains(of)).count();
            let each = [
                count("ingresses/one/status"),
                count("ingresses/two/status"),
                count("POST /api/v1/namespaces/default/events"),
            ];
            (each.iter().all(|&times| times > 0)
                && written.iter().filter(|&write| *write == written[0]).count() > 1)
                .then_some(())
        },
    );
}

#[test]
fn a_kind_that_the_cluster_gets_later_is_read() {
    let lists: Arc<Mutex<HashMap<&str, String>>> = Arc::default();
    let service = concat!(
        r#"{"metadata":{"name":"web","namespace":"default"},"#,
        r#""spec":{"type":"ExternalName","externalName":"localhost"}}"#
    );
    let backend = Backend::start("app");
    let class =
        r#"{"metadata":{"name":"gatelet"},"spec":{"controller":"gatelet.dev/ingress-controller"}}"#;
    let named = ingress("one", backend.port).replace(
        r#""namespace":"default""#,
        concat!(
            r#""namespace":"default","annotations":"#,
            r#"{"traefik.ingress.kubernetes.io/router.middlewares":"default-m@kubernetescrd"}"#
        ),
    );
    lists.lock().expect("no panic").extend([
        ("ingressclasses", format!("[{class}]")),
        ("services", format!("[{service}]")),
        ("ingresses", format!("[{named}]")),
    ]);
    let server = Server::changing(lists.clone(), HashMap::new());
    let folder = Folder::new();
    let mut gatelet = following(&kubeconfig(&folder, &server));
    gatelet.spawn();
    gatelet.wait_ready();
    assert_eq!(gatelet.status_of("one.example.com", "/"), 503);

    let middleware = concat!(
        r#"[{"metadata":{"name":"m","namespace":"default"},"#,
        r#""spec":{"addPrefix":{"prefix":"/added"}}}]"#
    );
    let mut lists = lists.lock().expect("no panic");
    lists.insert("middlewares", middleware.to_owned());
    drop(lists);
    eventually("the kind is found", || {
        let text = gatelet.get("one.example.com", "/");
        text.contains("GET /added/ ").then_some(())
    });
}
