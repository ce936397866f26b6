//! The same requests to gatelet with annotations of the controllers on HAProxy, and to a real
//! HAProxy with the configuration that they would write for them.

mod checks;
mod groups;
mod limits;
mod server_names;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use super::support::{
    Certificate, Folder, Gatelet, Nginx, backend, certificates::ECDSA, eventually, free_port,
    nginx, peers, run,
};

const HOST: &str = "app.example.com";
const INGRESS: &str = "haproxy-ingress.github.io/";
const TECHNOLOGIES: &str = "haproxy.org/";

/// A real HAProxy, ended with its test.
struct Haproxy {
    port: u16,
    https: u16,
    process: Child,
    _folder: Folder,
}

impl Haproxy {
    /// Starts it with rules and the options of its server; `None` if it is not there.
    fn start(rules: &str, server: &str, backend: u16) -> Option<Self> {
        Self::with(&format!(
            "{rules}\n  server one 127.0.0.1:{backend} {server}\n"
        ))
    }

    /// Starts it with the lines of its backend; `None` if it is not there.
    fn with(rules: &str) -> Option<Self> {
        let mut command = peers::haproxy()?;
        let (folder, port, https) = (Folder::new(), free_port(), free_port());
        let own = Certificate::make(&folder, "own", &["DNS:app.example.com"], ECDSA);
        let both = [&own.chain, &own.key].map(|path| std::fs::read_to_string(path).expect("PEM"));
        let pem = folder.write("own.pem", &both.concat());
        let text = format!(
            "defaults
  mode http
  # Without a log it knows no capture.req.uri.
  log 127.0.0.1:9 local0
  option httplog
  timeout connect 5s
  timeout client 50s
  timeout server 50s
frontend front
  bind 127.0.0.1:{port}
  bind 127.0.0.1:{https} ssl crt {} alpn h2,http/1.1
  default_backend back
backend back
{rules}",
            pem.display()
        );
        let file = folder.write("haproxy.cfg", &text);
        command.arg("-f").arg(file).args(["-db"]);
        let process = command.stderr(Stdio::inherit()).spawn();
        let process = process.expect("HAProxy starts");
        eventually("HAProxy listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Some(Self {
            port,
            https,
            process,
            _folder: folder,
        })
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Responds to every connection with these fields, and with the head of the request, behind the
/// bytes that come before it in hexadecimal. Returns the port.
fn telling(fields: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || tell(stream, fields));
        }
    });
    port
}

fn tell(mut stream: TcpStream, fields: &str) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut before = Vec::new();
    if reader.fill_buf().ok()?.starts_with(b"PROXY") {
        reader.read_until(b'\n', &mut before).ok()?;
    } else if reader.fill_buf().ok()?.starts_with(b"\r\n\r\n\0") {
        before.resize(16, 0);
        reader.read_exact(&mut before).ok()?;
        let length = usize::from(u16::from_be_bytes([before[14], before[15]]));
        before.resize(16 + length, 0);
        reader.read_exact(&mut before[16..]).ok()?;
    }

    let head = backend::head(&mut reader)?;
    let before: String = before.iter().map(|byte| format!("{byte:02x}")).collect();
    let body = format!("{before}\r\n{head}");
    let length = body.len();
    let text = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n{fields}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).ok()
}

/// Returns what matters of a response: the status, fields, and fields that the backend got.
fn shown(port: u16, (path, arguments): (&str, &[&str])) -> Vec<String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "20", "-i", "-H", &format!("Host: {HOST}")]);
    let url = format!("http://127.0.0.1:{port}{path}");
    let text = run(curl.args(arguments).arg(url)).replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").expect("a head");

    let status = head.lines().next().and_then(|line| line.split(' ').nth(1));
    let mut found = vec![status.expect("a status").to_owned()];
    let named = |lines: &str, mark: &str, is: &dyn Fn(&str) -> bool| {
        let fields = lines.lines().filter_map(|line| line.split_once(": "));
        let fields = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        let fields = fields.filter(|(name, _)| is(name));
        let fields = fields.map(|(name, value)| format!("{mark} {name}: {value}"));
        fields.collect::<Vec<String>>()
    };
    let of_response = |name: &str| {
        name.starts_with("access-control-")
            || ["location", "set-cookie", "server", "x-old"].contains(&name)
    };
    let of_request = |name: &str| ["x-a", "x-b", "x-c", "host"].contains(&name);
    found.extend(named(head, "<", &of_response));
    found.extend(named(body, ">", &of_request));
    found.sort();
    found
}

/// A gatelet with an Ingress that has these annotations, once they apply.
fn annotated(backend: u16, annotations: &[String]) -> Gatelet {
    annotated_as(&backend::manifests("app", HOST, backend), annotations)
}

/// The same with the Ingress `app` of these manifests.
fn annotated_as(manifests: &str, annotations: &[String]) -> Gatelet {
    let gatelet = Gatelet::start();
    gatelet.serve(manifests, HOST);
    // A mark of its own shows when the others apply.
    let mark = "haproxy.org/response-set-header=X-Mark 1";
    let mut arguments = vec!["annotate", "ingress", "app", mark];
    arguments.extend(annotations.iter().map(String::as_str));
    gatelet.kubectl(&arguments);
    eventually("the annotations apply", || {
        let mut curl = gatelet.curl(HOST, "/");
        let head = run(curl.args(["-o", "/dev/null", "-D", "-"]));
        head.to_ascii_lowercase().contains("x-mark").then_some(())
    });
    gatelet
}

/// Sends each request to both, and compares.
fn compare(prefix: &str, annotations: &[&str], rules: &str, requests: &[(&str, &[&str])]) {
    let backend = telling("Server: inner\r\nX-Old: 1\r\nSet-Cookie: a=1\r\n");
    let Some(haproxy) = Haproxy::start(rules, "", backend) else {
        return;
    };
    let names = annotations.iter();
    let names: Vec<String> = names.map(|one| format!("{prefix}{one}")).collect();
    let gatelet = annotated(backend, &names);
    let https = format!(":{}", gatelet.https);
    for request in requests {
        let ours = shown(gatelet.http, *request);
        let ours: Vec<String> = ours.iter().map(|one| one.replace(&https, "")).collect();
        let theirs = shown(haproxy.port, *request);
        assert_eq!(ours, theirs, "{annotations:?}: {request:?}");
    }
}

#[test]
fn redirects_lead_where_those_of_haproxy_lead() {
    let requests: &[(&str, &[&str])] = &[
        ("/", &[]),
        ("/a%2Fb?c=d&e", &[]),
        ("/a", &["-d", "x"]),
        ("/a", &["-I"]),
    ];
    let compare = |prefix, annotations: &[&str], rules| {
        compare(prefix, annotations, rules, requests);
    };
    compare(
        INGRESS,
        &["redirect-to=https://b.example.com/x?y=z"],
        "http-request redirect location https://b.example.com/x?y=z code 302",
    );
    compare(
        INGRESS,
        &["redirect-to=https://b.example.com/", "redirect-to-code=308"],
        "http-request redirect location https://b.example.com/ code 308",
    );
    compare(
        TECHNOLOGIES,
        &["request-redirect=b.example.com:8080"],
        "http-request redirect location http://b.example.com:8080%[capture.req.uri] code 302",
    );
    compare(
        TECHNOLOGIES,
        &[
            "request-redirect=https://b.example.com",
            "request-redirect-code=303",
        ],
        "http-request redirect location https://b.example.com%[capture.req.uri] code 303",
    );
    compare(
        TECHNOLOGIES,
        &[
            "ssl-redirect=true",
            "ssl-redirect-port=8443",
            "ssl-redirect-code=301",
        ],
        "http-request redirect location \
         https://%[hdr(host),field(1,:)]:8443%[capture.req.uri] code 301",
    );
    compare(
        TECHNOLOGIES,
        &["ssl-redirect=true"],
        "http-request redirect scheme https code 302",
    );
}

#[test]
fn fields_are_set_added_and_removed_as_by_haproxy() {
    let own: &[&str] = &[
        "-H",
        "X-A: client",
        "-H",
        "X-B: client",
        "-H",
        "x-c: client",
    ];
    let requests: &[(&str, &[&str])] = &[("/", &[]), ("/", own)];
    compare(
        INGRESS,
        &[
            "request-set-headers=X-A: one\nHost: b.example.com",
            "request-add-headers=X-A: two\nX-B three",
            "request-del-headers=X-C",
            "response-set-headers=X-Old: \"new\"",
            "response-add-headers=Set-Cookie: b=2",
            "response-del-headers=server",
        ],
        "http-request set-header X-A one
  http-request set-header Host b.example.com
  http-request add-header X-A two
  http-request add-header X-B three
  http-request del-header X-C
  http-response set-header X-Old new
  http-response add-header Set-Cookie b=2
  http-response del-header server",
        requests,
    );
    compare(
        TECHNOLOGIES,
        &["request-set-header=X-A \"one two\"\nX-C three"],
        "http-request set-header X-A \"one two\"
  http-request set-header X-C \"three\"",
        requests,
    );
}

#[test]
fn pages_of_other_origins_get_the_fields_of_haproxy() {
    let preflight: &[&str] = &[
        "-X",
        "OPTIONS",
        "-H",
        "Origin: https://a.example.com",
        "-H",
        "Access-Control-Request-Method: PUT",
        "-H",
        "Access-Control-Request-Headers: X-Own",
    ];
    let requests: &[(&str, &[&str])] = &[
        ("/", &[]),
        ("/", &["-H", "Origin: https://a.example.com"]),
        ("/", &["-H", "Origin: https://evil.example"]),
        ("/", &["-X", "OPTIONS"]),
        ("/", preflight),
    ];
    let of_ingress = |condition: &str, lists: &str| {
        format!(
            "http-request set-var(txn.hdr_origin) req.hdr(Origin) if {{ req.hdr(Origin) -m found }}
  http-request set-var(txn.m) req.fhdr(Access-Control-Request-Method)
  http-request set-var(txn.h) req.fhdr(Access-Control-Request-Headers)
  http-request return status 204 hdr Access-Control-Max-Age 86400 if METH_OPTIONS
  acl allowed var(txn.hdr_origin) {condition}
  http-after-response set-header Access-Control-Allow-Origin %[var(txn.hdr_origin)] if allowed
  http-after-response set-header Access-Control-Allow-Credentials \"true\" if allowed
  {lists}"
        )
    };
    let all = of_ingress(
        "-m found",
        "http-after-response set-header Access-Control-Allow-Methods \
         \"GET, PUT, POST, DELETE, PATCH, OPTIONS\" if allowed
  http-after-response set-header Access-Control-Allow-Headers \
         \"DNT,X-CustomHeader,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,\
         Cache-Control,Content-Type,Authorization\" if allowed",
    );
    compare(INGRESS, &["cors-enable=true"], &all, requests);
    let asked = of_ingress(
        "-m reg ^https://[a-z]+\\.example\\.com$",
        "http-after-response set-header Access-Control-Allow-Methods %[var(txn.m)] if allowed \
         { var(txn.m) -m found }
  http-after-response set-header Access-Control-Allow-Headers %[var(txn.h)] if allowed \
         { var(txn.h) -m found }",
    );
    compare(
        INGRESS,
        &[
            "cors-enable=true",
            "cors-allow-origin-regex=^https://[a-z]+\\.example\\.com$",
            "cors-allow-methods=*",
            "cors-allow-headers=*",
        ],
        &asked,
        requests,
    );

    let of_technologies = |condition: &str, origin: &str| {
        format!(
            "http-request set-var(txn.cors_origin) req.hdr(origin)
  acl allowed var(txn.cors_origin) {condition}
  http-after-response set-header Access-Control-Allow-Origin {origin} if allowed
  http-after-response set-header Access-Control-Allow-Methods \"*\" if allowed
  http-after-response set-header Access-Control-Allow-Headers \"*\" if allowed
  http-after-response set-header Access-Control-Max-Age \"5\" if allowed"
        )
    };
    compare(
        TECHNOLOGIES,
        &["cors-enable=true"],
        &of_technologies("-m found", "*"),
        requests,
    );
    compare(
        TECHNOLOGIES,
        &["cors-enable=true", "cors-allow-origin=a\\.example"],
        &of_technologies("-m reg a\\.example", "%[var(txn.cors_origin)]"),
        requests,
    );
}

/// Returns the bytes before a request, without ports, over HTTP or HTTPS.
fn before(port: u16, scheme: &str) -> String {
    let mut curl = Command::new("curl");
    let place = format!("{HOST}:{port}:127.0.0.1");
    // HAProxy would add the protocol of ALPN.
    curl.args(["-sSk", "-m", "20", "--no-alpn", "--resolve", &place]);
    let text = run(curl.arg(format!("{scheme}://{HOST}:{port}/")));
    let before = text.lines().next().expect("a line");
    let bytes: Vec<u8> = (0..before.len() / 2)
        .map(|at| u8::from_str_radix(&before[2 * at..][..2], 16).expect("a byte"))
        .collect();
    match String::from_utf8(bytes.clone()) {
        Ok(text) if text.starts_with("PROXY") => {
            let words: Vec<&str> = text.split(' ').take(4).collect();
            words.join(" ")
        }
        _ => {
            let mut rest = bytes[28..].to_vec();
            // Without a certificate HAProxy says 0, which the specification has for one that was
            // verified.
            if rest.first() == Some(&0x20) {
                rest[4..8].fill(0);
            }
            format!("{:?} {rest:?}", &bytes[..24])
        }
    }
}

#[test]
fn the_header_for_a_backend_is_that_of_haproxy() {
    let backend = telling("");
    for (prefix, annotation, option) in [
        (INGRESS, "proxy-protocol=v1", "send-proxy"),
        (INGRESS, "proxy-protocol=v2", "send-proxy-v2"),
        (INGRESS, "proxy-protocol=v2-ssl", "send-proxy-v2-ssl"),
        (
            TECHNOLOGIES,
            "send-proxy-protocol=proxy-v2",
            "send-proxy-v2",
        ),
    ] {
        let Some(haproxy) = Haproxy::start("", option, backend) else {
            return;
        };
        let gatelet = annotated(backend, &[format!("{prefix}{annotation}")]);
        for (ours, theirs, scheme) in [
            (gatelet.http, haproxy.port, "http"),
            (gatelet.https, haproxy.https, "https"),
        ] {
            let (ours, theirs) = (before(ours, scheme), before(theirs, scheme));
            assert_eq!(ours, theirs, "{annotation} {scheme}");
        }
    }
}

#[test]
fn nginx_reads_the_address_of_each_client() {
    if nginx::program().is_none() {
        return;
    }
    let port = free_port();
    let _nginx = Nginx::start(&format!(
        "listen 127.0.0.1:{port} proxy_protocol;
    location / {{ return 200 \"$proxy_protocol_addr $http_x_real_ip\"; }}"
    ));
    let gatelet = Gatelet::start();
    for version in ["v1", "v2"] {
        gatelet.apply(&backend::manifests("app", HOST, port));
        // On the Service, as its owner would say it for all Ingresses.
        let annotation = format!("{INGRESS}proxy-protocol={version}");
        gatelet.kubectl(&["annotate", "--overwrite", "service", "app", &annotation]);
        eventually("nginx responds", || {
            (gatelet.status_of(HOST, "/") == 200).then_some(())
        });

        for _ in 0..3 {
            for address in ["127.0.0.1", "127.0.0.2", "127.0.0.3"] {
                for flags in [&[][..], &["--http2-prior-knowledge"]] {
                    let mut curl = gatelet.curl(HOST, "/");
                    let seen = run(curl.args(["--interface", address]).args(flags));
                    assert_eq!(seen, format!("{address} {address}"), "{version} {flags:?}");
                }
            }
        }
    }
}
