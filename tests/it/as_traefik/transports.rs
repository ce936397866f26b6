//! The terms of requests to backends that annotations on a Service set: `Host`, and those of TLS in
//! a ServersTransport.

use std::{fmt::Write as _, fs};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Traefik, is_there, outcome};
use crate::support::{
    Backend, Folder, Gatelet, Nginx, backend,
    client_certificates::{Authority, of_client, of_server},
    eventually, free_port,
    nginx::program,
    run,
};

const INSIDE: &str = "inside.example.com";
const ANNOTATIONS: &str = "traefik.ingress.kubernetes.io/service.";

/// The fields of a ServersTransport for gatelet, those for Traefik, and whether requests reach the
/// backend. Names of files stand in braces.
const CASES: &[(&str, &str, bool)] = &[
    ("", "insecureSkipVerify: false", false),
    ("insecureSkipVerify: true", "insecureSkipVerify: true", true),
    (
        "insecureSkipVerify: true, serverName: any.example.com",
        "insecureSkipVerify: true, serverName: any.example.com",
        true,
    ),
    (
        "serverName: inside.example.com, rootCAs: [{secret: ca}]",
        "serverName: inside.example.com, rootCAs: ['{ca}']",
        true,
    ),
    (
        "serverName: inside.example.com, rootCAsSecrets: [ca-of-traefik]",
        "serverName: inside.example.com, rootCAs: ['{ca}']",
        true,
    ),
    (
        "serverName: inside.example.com, rootCAs: [{secret: other}, {configMap: roots}]",
        "serverName: inside.example.com, rootCAs: ['{other}', '{ca}']",
        true,
    ),
    (
        "serverName: inside.example.com, rootCAs: [{secret: other}]",
        "serverName: inside.example.com, rootCAs: ['{other}']",
        false,
    ),
    (
        "serverName: other.example.com, rootCAs: [{secret: ca}]",
        "serverName: other.example.com, rootCAs: ['{ca}']",
        false,
    ),
    ("rootCAs: [{secret: ca}]", "rootCAs: ['{ca}']", false),
    (
        "serverName: inside.example.com, rootCAs: [{secret: ca}], certificatesSecrets: [ann]",
        "serverName: inside.example.com, rootCAs: ['{ca}'], certificates: [{certFile: '{chain}', \
         keyFile: '{key}'}]",
        true,
    ),
    (
        "insecureSkipVerify: true, maxVersion: VersionTLS12, cipherSuites: \
         [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
        "insecureSkipVerify: true, maxVersion: VersionTLS12, cipherSuites: \
         [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
        true,
    ),
    (
        "insecureSkipVerify: true, minVersion: VersionTLS12, maxVersion: VersionTLS13, \
         disableHTTP2: true, forwardingTimeouts: {dialTimeout: 5s}",
        "insecureSkipVerify: true, minVersion: VersionTLS12, maxVersion: VersionTLS13, \
         disableHTTP2: true, forwardingTimeouts: {dialTimeout: 5s}",
        true,
    ),
];

fn host(number: usize) -> String {
    format!("case{number}.example.com")
}

/// Returns a Service with annotations, its endpoint and its Ingress.
fn objects(number: usize, port: u16, annotations: &str) -> String {
    let name = format!("case{number}");
    let metadata = format!("metadata: {{name: {name}, annotations: {{{annotations}}}}}");
    let service = backend::service(&name, "");
    service.replace(&format!("metadata: {{name: {name}}}"), &metadata)
        + &backend::slice(&name, &[port])
        + &backend::ingress(&name, &host(number), "")
}

/// Returns the status and the body of a response.
fn get(port: u16, host: &str) -> (String, String) {
    let mut curl = std::process::Command::new("curl");
    curl.args(["-sS", "-m", "20", "-w", "\n%{http_code}", "-H"]);
    curl.arg(format!("Host: {host}"));
    let text = run(curl.arg(format!("http://127.0.0.1:{port}/")));
    let (body, status) = text.rsplit_once('\n').expect("a line of our own");
    (status.to_owned(), body.to_owned())
}

#[test]
fn servers_transports_mean_what_they_mean_in_traefik() {
    if program().is_none() {
        return;
    }
    let folder = Folder::new();
    let (ours, others) = (Authority::root("Backends"), Authority::root("Others"));
    let clients = Authority::root("Clients");
    let certificate = ours.issue(&folder, "own", &of_server(INSIDE));
    let ann = clients.issue(&folder, "ann", &of_client("ann"));
    let [ca, other, of_clients] = [("ca", &ours), ("other", &others), ("clients", &clients)]
        .map(|(name, authority)| folder.write(&format!("{name}.crt"), &authority.pem()));
    let port = free_port();
    let _nginx = Nginx::start(&format!(
        "listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};
         ssl_protocols TLSv1.2 TLSv1.3; ssl_verify_client optional; ssl_client_certificate {};
         location / {{ return 200 'dn=$ssl_client_s_dn sni=$ssl_server_name \
         version=$ssl_protocol host=$http_host\\n'; }}",
        certificate.chain.display(),
        certificate.key.display(),
        of_clients.display(),
    ));

    let read = |path| fs::read_to_string(path).expect("a file");
    let secret = |name: &str, keys: &[(&str, String)]| {
        let lines = keys.iter();
        let lines = lines.map(|(key, text)| format!("  {key}: {:?}\n", STANDARD.encode(text)));
        let lines: String = lines.collect();
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ndata:\n{lines}---\n")
    };
    let mut text = secret("ca", &[("ca.crt", ours.pem())])
        + &secret("ca-of-traefik", &[("tls.ca", ours.pem())])
        + &secret("other", &[("ca.crt", others.pem())])
        + &secret(
            "ann",
            &[("tls.crt", read(&ann.chain)), ("tls.key", read(&ann.key))],
        );
    let _ = write!(
        text,
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: roots}}\ndata: {{ca.crt: {:?}}}\n---\n",
        ours.pem()
    );

    let mut file = "http:\n  serversTransports:\n".to_owned();
    for (number, (ours, theirs, _)) in CASES.iter().enumerate() {
        text += &objects(
            number,
            port,
            &format!(
                "{ANNOTATIONS}serversscheme: https, {ANNOTATIONS}serverstransport: \
                 default-case{number}@kubernetescrd"
            ),
        );
        let _ = write!(
            text,
            "apiVersion: traefik.io/v1alpha1\nkind: ServersTransport\nmetadata: {{name: \
             case{number}}}\nspec: {{{ours}}}\n---\n"
        );
        let mut theirs = (*theirs).to_owned();
        for (name, path) in [
            ("{ca}", &ca),
            ("{other}", &other),
            ("{chain}", &ann.chain),
            ("{key}", &ann.key),
        ] {
            theirs = theirs.replace(name, &path.display().to_string());
        }
        let _ = writeln!(file, "    case{number}: {{{theirs}}}");
    }
    file += "  services:\n";
    for number in 0..CASES.len() {
        let _ = writeln!(
            file,
            "    case{number}: {{loadBalancer: {{serversTransport: case{number}, servers: [{{url: \
             'https://127.0.0.1:{port}'}}]}}}}"
        );
    }
    file += "  routers:\n";
    for number in 0..CASES.len() {
        let host = host(number);
        let _ = writeln!(
            file,
            "    case{number}: {{rule: 'Host(`{host}`)', service: case{number}}}"
        );
    }

    let gatelet = Gatelet::start();
    gatelet.apply(&text);
    let traefik = Traefik::start(&file, &[]);
    for (number, (spec, _, works)) in CASES.iter().enumerate() {
        let host = host(number);
        for port in [gatelet.http, traefik.port] {
            eventually(&format!("both have {host}"), || {
                is_there(port, &host).then_some(())
            });
        }
        let [ours, theirs] = [gatelet.http, traefik.port].map(|port| get(port, &host));
        assert_eq!(ours.0 == "200", *works, "{spec}: {ours:?}");
        assert_eq!(theirs.0 == "200", *works, "{spec}: {theirs:?}");
        if *works {
            assert_eq!(ours, theirs, "{spec}");
        }
    }
}

#[test]
fn the_host_of_requests_is_that_of_traefik() {
    const VALUES: &[(&str, &str)] = &[("true", "true"), ("false", "false")];
    let backend = Backend::start("app");
    let port = backend.port;
    let (mut text, mut routers, mut services) = (String::new(), String::new(), String::new());
    for (number, (ours, theirs)) in VALUES.iter().enumerate() {
        let annotation = format!("{ANNOTATIONS}passhostheader: {ours:?}");
        text += &objects(number, port, &annotation);
        let host = host(number);
        let _ = writeln!(
            routers,
            "    case{number}: {{rule: 'Host(`{host}`)', service: case{number}}}"
        );
        let _ = writeln!(
            services,
            "    case{number}: {{loadBalancer: {{passHostHeader: {theirs}, servers: [{{url: \
             'http://127.0.0.1:{port}'}}]}}}}"
        );
    }
    let gatelet = Gatelet::start();
    gatelet.apply(&text);
    let traefik = Traefik::start(
        &format!("http:\n  routers:\n{routers}  services:\n{services}"),
        &[],
    );

    for (number, (value, _)) in VALUES.iter().enumerate() {
        let host = host(number);
        for port in [gatelet.http, traefik.port] {
            eventually(&format!("both have {host}"), || {
                is_there(port, &host).then_some(())
            });
        }
        let ours = outcome(gatelet.http, &host, "/a?b", &[]);
        let theirs = outcome(traefik.port, &host, "/a?b", &[]);
        assert_eq!(ours, theirs, "{value}");
        let sent = match *value {
            "true" => format!("host: {host}"),
            _ => format!("host: 127.0.0.1:{port}"),
        };
        assert!(ours.contains(&sent), "{ours:?}");
    }
}
