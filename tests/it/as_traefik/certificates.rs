//! Fields about the certificates of clients.

use std::{fmt::Write as _, process::Command};

use rcgen::{DnType, SanType};

use super::{OF_RESPONSES, Traefik, host, lines};
use crate::support::{
    Backend, Folder, Gatelet, backend,
    client_certificates::{Authority, ClientFiles, arguments, of_client, secret},
    eventually, run,
};

const SPECS: &[&str] = &[
    "passTLSClientCert: {pem: true}",
    "passTLSClientCert: {info: {notAfter: true, notBefore: true, sans: true, serialNumber: true, \
     subject: {country: true, province: true, locality: true, organization: true, \
     organizationalUnit: true, commonName: true, serialNumber: true, domainComponent: true}, \
     issuer: {country: true, province: true, locality: true, organization: true, commonName: \
     true, serialNumber: true, domainComponent: true}}}",
    "passTLSClientCert: {pem: true, info: {subject: {commonName: true}, issuer: {locality: true}}}",
    "passTLSClientCert: {info: {sans: true, issuer: {organization: true}}}",
];

/// Returns the fields about certificates that the backend gets.
fn told(port: u16, host: &str, client: Option<&ClientFiles>) -> Vec<String> {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "-k",
        "-m",
        "20",
        "-H",
        "X-Forwarded-Tls-Client-Cert: evil",
    ]);
    curl.args(["--resolve", &format!("{host}:{port}:127.0.0.1")]);
    curl.args(client.map(arguments).unwrap_or_default());
    let text = run(curl.arg(format!("https://{host}:{port}/")));
    assert!(text.starts_with("app\n"), "{text}");
    let mut found = lines(&text, OF_RESPONSES);
    found.retain(|line| line.starts_with("x-forwarded-tls-client-cert"));
    found
}

#[test]
fn certificates_of_clients_are_told_as_by_traefik() {
    let (folder, app) = (Folder::new(), Backend::start("app"));
    let authority = Authority::root("Shop CA");
    let between = authority.intermediate("Shop sub CA");
    let ann = authority.issue(&folder, "ann", &of_client("ann"));
    let mut params = of_client("J\u{fc}rgen \"B\"; =,");
    for (kind, value) in [
        (DnType::StateOrProvinceName, "Berlin"),
        (DnType::LocalityName, "Mitte & +"),
        (DnType::OrganizationalUnitName, "a"),
        (DnType::CustomDnType(vec![2, 5, 4, 5]), "42"),
        (
            DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]),
            "example",
        ),
    ] {
        params.distinguished_name.push(kind, value);
    }
    params.subject_alt_names = vec![
        SanType::URI("spiffe://a.example/b".try_into().expect("a URI")),
        SanType::IpAddress([192, 0, 2, 1].into()),
        SanType::IpAddress("2001:db8::1".parse().expect("an address")),
        SanType::Rfc822Name("ann@a.example".try_into().expect("an address")),
        SanType::DnsName("b.example".try_into().expect("a name")),
        SanType::DnsName("*.a.example".try_into().expect("a name")),
    ];
    let full = between.issue(&folder, "full", &params);
    let old = authority.issue_old(&folder, "old", &["rsa:2048"], "12345678901234567890");

    let gatelet = Gatelet::start();
    gatelet.apply(&secret("ca", &authority.pem(), ""));
    let mut objects = backend::service("app", "") + &backend::slice("app", &[app.port]);
    let (mut routers, mut middlewares) = (String::new(), String::new());
    for (number, spec) in SPECS.iter().enumerate() {
        let _ = write!(
            objects,
            "apiVersion: traefik.io/v1alpha1\nkind: Middleware\nmetadata: {{name: \
             case{number}}}\nspec: {{{spec}}}\n---\n"
        );
        let annotated = format!(
            "metadata:\n  name: case{number}\n  annotations:\n    \
             gatelet.dev/auth-tls-secret: ca\n    \
             gatelet.dev/auth-tls-verify-client: optional\n    \
             gatelet.dev/auth-tls-verify-depth: '2'\n    \
             traefik.ingress.kubernetes.io/router.middlewares: default-case{number}@kubernetescrd"
        );
        let ingress = backend::ingress("app", &host(number), "");
        objects += &ingress.replace("metadata: {name: app}", &annotated);
        let _ = writeln!(
            routers,
            "    case{number}: {{rule: 'Host(`{}`)', service: app, middlewares: [case{number}], \
             tls: {{}}}}",
            host(number)
        );
        let _ = writeln!(middlewares, "    case{number}: {{{spec}}}");
    }
    gatelet.apply(&objects);

    let ca = folder.write("ca.pem", &authority.pem());
    let traefik = Traefik::start(
        &format!(
            "tls:
  options:
    default: {{clientAuth: {{caFiles: [{}], clientAuthType: VerifyClientCertIfGiven}}}}
http:
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{}'}}]}}}}
  routers:
{routers}  middlewares:
{middlewares}",
            ca.display(),
            app.port
        ),
        &[],
    );

    for (number, spec) in SPECS.iter().enumerate() {
        let host = host(number);
        for port in [gatelet.https, traefik.port] {
            eventually("the host is there", || {
                let mut curl = Command::new("curl");
                curl.args(["-s", "-k", "--resolve", &format!("{host}:{port}:127.0.0.1")]);
                let output = curl
                    .args(arguments(&ann))
                    .arg(format!("https://{host}:{port}/"));
                let output = output.output().expect("curl");
                output.stdout.starts_with(b"app\n").then_some(())
            });
        }
        for client in [None, Some(&ann), Some(&full), Some(&old)] {
            let ours = told(gatelet.https, &host, client);
            let theirs = told(traefik.port, &host, client);
            assert_eq!(ours, theirs, "{spec} {:?}", client.map(|one| &one.chain));
        }
    }
}
