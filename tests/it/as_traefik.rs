//! The same requests to gatelet with Middlewares, and to a real Traefik with the same ones in its
//! file.

mod auth;
mod breaker;
mod certificates;
mod digest;
mod errors;
mod limits;
mod steps;

use std::{
    fmt::Write as _,
    process::{Child, Command, Stdio},
};

use super::support::{Backend, Folder, Gatelet, backend, eventually, free_port, peers, run};

/// Middlewares of one Ingress, and requests to it.
struct Case {
    /// The names of the Middlewares with their specs.
    middlewares: &'static [(&'static str, &'static str)],
    /// The names that the Ingress has, in their order.
    named: &'static [&'static str],
    /// Paths with further arguments of curl.
    requests: &'static [(&'static str, &'static [&'static str])],
}

/// A real Traefik, ended with its test.
struct Traefik {
    port: u16,
    process: Child,
    _folder: Folder,
}

impl Traefik {
    /// Starts it with the content of its file of routers, middlewares and services.
    fn start(dynamic: &str, arguments: &[&str]) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let file = folder.write("dynamic.yaml", dynamic);
        let log = std::fs::File::create(folder.path().join("log")).expect("a file");
        let mut command = peers::traefik();
        command.arg(format!("--entryPoints.web.address=127.0.0.1:{port}"));
        command.arg(format!("--providers.file.filename={}", file.display()));
        command.args(["--global.checkNewVersion=false", "--log.level=ERROR"]);
        let process = command
            .args(arguments)
            .stdout(Stdio::from(log.try_clone().expect("a descriptor")))
            .stderr(Stdio::from(log))
            .spawn()
            .expect("Traefik starts");
        Self {
            port,
            process,
            _folder: folder,
        }
    }
}

impl Drop for Traefik {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The users of `basicAuth`, all with the password `secret`.
const USERS: &[&str] = &[
    "bcrypt:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    "apr1:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0",
    "sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
];

fn host(number: usize) -> String {
    format!("case{number}.example.com")
}

/// Returns the objects for gatelet.
fn objects(cases: &[Case], port: u16) -> String {
    let mut text = String::new();
    for name in ["app", "pages"] {
        text += &(backend::service(name, "") + &backend::slice(name, &[port]));
    }
    let users: String = USERS.iter().map(|line| format!("    {line}\n")).collect();
    let _ = write!(
        text,
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: users}}\nstringData:\n  file: \
         |\n{users}---\n"
    );
    for (number, case) in cases.iter().enumerate() {
        for (name, spec) in case.middlewares {
            // Chains name Middlewares of their own case.
            let spec = spec.replace("{name: ", &format!("{{name: case{number}-"));
            let _ = write!(
                text,
                "apiVersion: traefik.io/v1alpha1\nkind: Middleware\nmetadata: {{name: \
                 case{number}-{name}}}\nspec: {{{spec}}}\n---\n"
            );
        }
        let named = case.named.iter();
        let named: Vec<String> = named
            .map(|name| format!("default-case{number}-{name}@kubernetescrd"))
            .collect();
        let annotation = format!(
            "metadata:\n  name: case{number}\n  annotations:\n    \
             traefik.ingress.kubernetes.io/router.middlewares: {}",
            named.join(",")
        );
        let ingress = backend::ingress("app", &host(number), "");
        text += &ingress.replace("metadata: {name: app}", &annotation);
    }
    text
}

/// Returns the file for Traefik.
fn file(cases: &[Case], port: u16) -> String {
    let (mut routers, mut middlewares) = (String::new(), String::new());
    for (number, case) in cases.iter().enumerate() {
        let named = case.named.iter();
        let named: Vec<String> = named.map(|name| format!("case{number}-{name}")).collect();
        let _ = writeln!(
            routers,
            "    case{number}: {{rule: 'Host(`{}`)', service: app, middlewares: [{}]}}",
            host(number),
            named.join(", ")
        );
        for (name, spec) in case.middlewares {
            let users = format!("users: {USERS:?}");
            let spec = spec.replace("secret: users", &users);
            let spec = spec.replace("{port: 80, name: pages}", "pages");
            let spec = spec.replace("{name: ", &format!("case{number}-"));
            let spec = match spec.starts_with("chain") {
                true => spec.replace("}]", "]").replace("},", ","),
                false => spec,
            };
            let _ = writeln!(middlewares, "    case{number}-{name}: {{{spec}}}");
        }
    }
    format!(
        "http:
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{port}'}}]}}}}
    pages: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{port}'}}]}}}}
  routers:
{routers}  middlewares:
{middlewares}"
    )
}

/// Fields of requests that the two set in their own ways, whatever the middlewares.
const OWN: &[&str] = &[
    "accept-encoding",
    "cdn-loop",
    "connection",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-real-ip",
    "x-request-id",
    "x-scheme",
];

/// Fields of responses that say nothing about the middlewares: of our own errors, and of Traefik's.
const OF_RESPONSES: &[&str] = &[
    "connection",
    "content-length",
    "date",
    "cache-control",
    "content-type",
    "retry-after",
    "x-content-type-options",
    "x-retry-in",
];

/// Returns the lines of a head in an order of their own, without those with these names.
fn lines(head: &str, without: &[&str]) -> Vec<String> {
    let lines = head.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        let name = name.to_ascii_lowercase();
        let is_left = !without.contains(&&*name);
        is_left.then(|| format!("{name}: {}", value.trim()))
    });
    let mut lines: Vec<String> = lines.collect();
    lines.sort_unstable();
    lines
}

/// Returns the status, the fields of the response, and what the backend has got.
fn outcome(port: u16, host: &str, path: &str, arguments: &[&str]) -> Vec<String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-i", "-m", "20", "--path-as-is"]);
    curl.args(["-H", &format!("Host: {host}")]).args(arguments);
    let text = run(curl.arg(format!("http://127.0.0.1:{port}{path}")));

    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    let mut found = vec![status.to_owned()];
    // `nosniff` counts where the backend has responded.
    let is_of_backend = body.starts_with("app\n");
    let without = match is_of_backend {
        true => &OF_RESPONSES[..3],
        false => OF_RESPONSES,
    };
    found.extend(lines(head, without));
    if is_of_backend {
        let asked = body.lines().nth(1).unwrap_or_default();
        found.push(asked.to_owned());
        let (_, asked) = body.split_once('\n').unwrap_or_default();
        let (_, asked) = asked.split_once('\n').unwrap_or_default();
        found.extend(lines(asked, OWN));
    }
    found
}

/// Returns true if a request gets a response of the middlewares or the backend.
fn is_there(port: u16, host: &str) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}"]);
    curl.args(["-H", &format!("Host: {host}")]);
    let output = curl.arg(format!("http://127.0.0.1:{port}/ready")).output();
    let status = output.expect("curl").stdout;
    !matches!(&status[..], b"000" | b"404" | b"503")
}

/// Sends the requests of all cases to both, and compares.
fn compare(cases: &[Case]) {
    compare_with(cases, "", &[]);
}

/// The same with settings for gatelet, and arguments for Traefik.
fn compare_with(cases: &[Case], settings: &str, arguments: &[&str]) {
    let backend = Backend::start("app");
    let gatelet = Gatelet::configured(settings);
    gatelet.apply(&objects(cases, backend.port));
    let traefik = Traefik::start(&file(cases, backend.port), arguments);

    for (number, case) in cases.iter().enumerate() {
        let host = host(number);
        for (name, port) in [("gatelet", gatelet.http), ("Traefik", traefik.port)] {
            eventually(
                &format!("{name} has {host}: {:?}", case.middlewares),
                || is_there(port, &host).then_some(()),
            );
        }
        for (path, arguments) in case.requests {
            let ours = outcome(gatelet.http, &host, path, arguments);
            let theirs = outcome(traefik.port, &host, path, arguments);
            let what = format!("{:?}: {path} {arguments:?}", case.middlewares);
            assert_eq!(ours, theirs, "{what}");
        }
    }
}
