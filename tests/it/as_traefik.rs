//! The same requests to gatelet with Middlewares, and to a real Traefik with the same ones in its
//! file.

mod auth;
mod breaker;
mod certificates;
mod digest;
mod errors;
mod grpc_web;
mod limits;
mod on_services;
mod routes;
mod steps;
mod transports;

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

/// The annotation of an Ingress that names middlewares, and that of a Service.
const ROUTER: &str = "traefik.ingress.kubernetes.io/router.middlewares";
const SERVICE: &str = "traefik.ingress.kubernetes.io/service.middlewares";

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

/// Returns an object with an annotation, if that names anything.
fn annotated(object: &str, name: &str, annotation: &str, names: &[String]) -> String {
    if names.is_empty() {
        return object.to_owned();
    }
    let metadata = format!(
        "metadata:\n  name: {name}\n  annotations:\n    {annotation}: {}",
        names.join(",")
    );
    object.replace(&format!("metadata: {{name: {name}}}"), &metadata)
}

/// Returns the objects for gatelet. Each Ingress names so many of the Middlewares, and its Service
/// the rest.
fn objects(cases: &[Case], port: u16, on_ingress: usize) -> String {
    let mut text = backend::service("pages", "") + &backend::slice("pages", &[port]);
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
        let (routers, services) = named.split_at(on_ingress.min(named.len()));
        let name = format!("case{number}");
        let ingress = backend::ingress(&name, &host(number), "");
        text += &annotated(&ingress, &name, ROUTER, routers);
        text += &annotated(&backend::service(&name, ""), &name, SERVICE, services);
        text += &backend::slice(&name, &[port]);
    }
    text
}

/// Returns the file for Traefik, with the Middlewares in the same places.
fn file(cases: &[Case], port: u16, on_router: usize) -> String {
    let (mut routers, mut middlewares, mut services) =
        (String::new(), String::new(), String::new());
    for (number, case) in cases.iter().enumerate() {
        let named = case.named.iter();
        let named: Vec<String> = named.map(|name| format!("case{number}-{name}")).collect();
        let (of_router, of_service) = named.split_at(on_router.min(named.len()));
        let _ = writeln!(
            routers,
            "    case{number}: {{rule: 'Host(`{}`)', service: case{number}, middlewares: [{}]}}",
            host(number),
            of_router.join(", ")
        );
        let _ = writeln!(
            services,
            "    case{number}: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{port}'}}]}}, \
             middlewares: [{}]}}",
            of_service.join(", ")
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
{services}    pages: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{port}'}}]}}}}
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
    "transfer-encoding",
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
    // Traefik has it where nothing could be compressed too.
    found.retain(|line| line != "vary: Accept-Encoding");
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
    compare_placed(cases, usize::MAX, settings, arguments);
}

/// The same where the Ingress names so many of the middlewares, and the Service the rest.
fn compare_placed(cases: &[Case], on_ingress: usize, settings: &str, arguments: &[&str]) {
    let backend = Backend::start("app");
    let gatelet = Gatelet::configured(settings);
    gatelet.apply(&objects(cases, backend.port, on_ingress));
    let traefik = Traefik::start(&file(cases, backend.port, on_ingress), arguments);

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
