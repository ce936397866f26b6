//! Behind other proxies and port mappings: our address as clients see it follows from their `Host`
//! and trusted proxies.

use super::support::{Answer, Backend, Connection, Gatelet, backend, eventually};

const HOST: &str = "behind.example.com";

/// A gatelet with one host under `tls`.
fn served(settings: &str, arguments: &[&str]) -> (Gatelet, Backend) {
    let mut gatelet = Gatelet::prepare(arguments);
    gatelet.configure(settings);
    gatelet.spawn();
    gatelet.wait_ready();
    let server = Backend::start("behind");
    let tls = format!("  tls: [{{hosts: [{HOST}]}}]");
    let ingress = backend::ingress("behind", HOST, &tls);
    gatelet.apply(&format!(
        "{}{}{ingress}",
        backend::service("behind", ""),
        backend::slice("behind", &[server.port])
    ));
    eventually("the host is served", || {
        (gatelet.status_of(HOST, "/") == 308).then_some(())
    });
    (gatelet, server)
}

fn ask(gatelet: &Gatelet, host: &str, fields: &str) -> Answer {
    let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
    connection
        .send(format!("GET /a?b=c HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").as_bytes())
        .expect("sent");
    connection.answer().expect("a response")
}

/// Returns the `Location` for a client that has `port` in its `Host`.
fn sent_to(gatelet: &Gatelet, port: &str, fields: &str) -> String {
    let answer = ask(gatelet, &format!("{HOST}{port}"), fields);
    assert_eq!(answer.status, 308, "{answer:?}");
    answer
        .field("location")
        .expect("a location")
        .replace(HOST, "HOST")
}

#[test]
fn a_redirect_leads_to_a_port_that_its_client_can_reach() {
    let (gatelet, _server) = served("", &[]);
    let (http, https) = (format!(":{}", gatelet.http), gatelet.https);
    assert_eq!(sent_to(&gatelet, "", ""), "https://HOST/a?b=c");
    assert_eq!(sent_to(&gatelet, ":80", ""), "https://HOST/a?b=c");
    assert_eq!(sent_to(&gatelet, ":30080", ""), "https://HOST/a?b=c");
    assert_eq!(
        sent_to(&gatelet, &http, ""),
        format!("https://HOST:{https}/a?b=c")
    );
    // A header of an untrusted client changes nothing.
    assert_eq!(
        sent_to(&gatelet, &http, "X-Forwarded-Proto: https\r\n"),
        format!("https://HOST:{https}/a?b=c")
    );

    let (gatelet, _server) = served("[proxy]\nexternal_https_port = 30443\n", &[]);
    let (http, https) = (format!(":{}", gatelet.http), gatelet.https);
    assert_eq!(sent_to(&gatelet, "", ""), "https://HOST:30443/a?b=c");
    assert_eq!(sent_to(&gatelet, ":30080", ""), "https://HOST:30443/a?b=c");
    assert_eq!(
        sent_to(&gatelet, &http, ""),
        format!("https://HOST:{https}/a?b=c")
    );
}

#[test]
fn forwarded_fields_of_a_trusted_tls_proxy_are_used() {
    let (gatelet, _server) = served(
        "[proxy]\ntrusted_proxies = [\"127.0.0.0/8\"]\n",
        &["--https", "off"],
    );
    let fields = "X-Forwarded-For: 203.0.113.7:4711\r\nX-Forwarded-Proto:";
    for (host, proto, port) in [
        (HOST.to_owned(), "https", "443"),
        (HOST.to_owned(), "https, http", "443"),
        (HOST.to_owned(), "wss", "443"),
        (format!("{HOST}:8443"), "https", "8443"),
        (format!("{HOST}:{}", gatelet.http), "https", "443"),
    ] {
        let answer = ask(&gatelet, &host, &format!("{fields} {proto}\r\n"));
        assert_eq!(answer.status, 200, "{proto}: {answer:?}");
        // Names keep the case of the client.
        let body = answer.text().to_ascii_lowercase();
        let expected = if proto == "wss" { "wss" } else { "https" };
        for field in [
            format!("x-forwarded-proto: {expected}\r\n"),
            format!("x-forwarded-port: {port}\r\n"),
            "x-scheme: https\r\n".to_owned(),
            "x-forwarded-for: 203.0.113.7:4711, 127.0.0.1\r\n".to_owned(),
            "x-real-ip: 203.0.113.7\r\n".to_owned(),
        ] {
            assert!(
                body.contains(&field),
                "{field} for {host} by {proto}: {body}"
            );
        }
    }
    let answer = ask(
        &gatelet,
        HOST,
        &format!("{fields} https\r\nX-Forwarded-Port: 4443\r\n"),
    );
    let body = answer.text().to_ascii_lowercase();
    assert!(body.contains("x-forwarded-port: 4443\r\n"), "{body}");
    // A client without TLS is redirected to the proxy's HTTPS, whatever our port is.
    for port in [String::new(), format!(":{}", gatelet.http)] {
        assert_eq!(
            sent_to(&gatelet, &port, &format!("{fields} http\r\n")),
            "https://HOST/a?b=c"
        );
        assert_eq!(
            sent_to(&gatelet, &port, &format!("{fields} http, https\r\n")),
            "https://HOST/a?b=c"
        );
    }
}

#[test]
fn a_backend_learns_the_port_that_its_client_uses() {
    let gatelet = Gatelet::start();
    let server = Backend::start("port");
    gatelet.serve(&server.manifests("port", HOST), HOST);
    for (port, expected) in [("", "80"), (":80", "80"), (":30080", "30080")] {
        let answer = ask(&gatelet, &format!("{HOST}{port}"), "");
        let (told, host) = (
            format!("x-forwarded-port: {expected}\r\n"),
            format!("x-forwarded-host: {HOST}{port}\r\n"),
        );
        assert!(
            answer.text().contains(&told) && answer.text().contains(&host),
            "{answer:?}"
        );
    }
}
