//! Decisions about a request: its backend, the fields that the backend receives, redirects, log
//! lines.

mod error_pages;

use super::support::{
    Backend, Certificate, Connection, Gatelet, backend, certificates, eventually, run,
};

const HOST: &str = "policy.example.com";

/// Returns the values of a field in the request that the backend received.
fn received<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let named = |line: &'a str| {
        line.split_once(": ")
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
    };
    answer
        .lines()
        .filter_map(|line| Some(named(line)?.1))
        .collect()
}

#[test]
fn backends_learn_the_client_and_forgeries_are_removed() {
    let gatelet = Gatelet::start();
    let backend = Backend::start("policy");
    gatelet.serve(&backend.manifests("policy", HOST), HOST);
    let lies = [
        "X-Forwarded-For: 1.2.3.4",
        "X-Real-IP: 1.2.3.4",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: lie.example.com",
        "X-Forwarded-Port: 1",
        "X-Forwarded-Scheme: lie",
        "X-Forwarded-Prefix: /lie",
        "X-Forwarded-Ssl: lie",
        "X-Forwarded-User: lie",
        "Forwarded: for=1.2.3.4",
        "X_Forwarded_For: 1.2.3.4",
        "X-Forwarded_For: 1.2.3.4",
        "Content_Length: lie",
        "Transfer_Encoding: lie",
        "X-Request-ID: lie",
        "Connection: close, X-Forwarded-For, X-Secret, Host",
        "X-Secret: lie",
        "Proxy-Authorization: lie",
        "Proxy: lie",
        "Keep-Alive: lie",
    ];
    let mut command = gatelet.curl(HOST, "/");
    for lie in lies {
        command.args(["-H", lie]);
    }
    let answer = run(command.args(["-H", "X-Kept: yes", "-H", "X_Kept: too"]));
    assert!(
        !answer.contains("1.2.3.4") && !answer.contains("lie"),
        "{answer}"
    );
    for (name, value) in [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", HOST),
        ("X-Forwarded-Port", "80"),
        ("Host", HOST),
        ("X-Kept", "yes"),
        ("X_Kept", "too"),
    ] {
        assert_eq!(received(&answer, name), [value], "{name}: {answer}");
    }
    assert_eq!(received(&answer, "x-request-id")[0].len(), 32, "{answer}");
    let secure = run(&mut gatelet.curl_tls(HOST, "/"));
    assert_eq!(
        received(&secure, "x-forwarded-proto"),
        ["https"],
        "{secure}"
    );
    assert_ne!(
        received(&secure, "x-request-id"),
        received(&answer, "x-request-id")
    );
    // Cookies arrive as several fields over HTTP/2 and leave as one.
    let cookies = run(gatelet.curl_tls(HOST, "/").args([
        "--http2",
        "-H",
        "Cookie: a=1",
        "-H",
        "Cookie: b=2",
    ]));
    assert_eq!(received(&cookies, "cookie"), ["a=1; b=2"], "{cookies}");
}

#[test]
fn the_chain_of_a_trusted_proxy_is_kept_and_extended() {
    let gatelet =
        Gatelet::configured("[proxy]\ntrusted_proxies = [\"127.0.0.1/32\", \"10.0.0.0/8\"]\n");
    let backend = Backend::start("policy");
    let tls = format!("  tls: [{{hosts: [{HOST}]}}]\n");
    gatelet.apply(&format!(
        "{}{}",
        backend.manifests("policy", "x.example.com"),
        backend::ingress("policy", HOST, &tls)
    ));
    let said = [
        "-H",
        "X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.1.1.1",
        "-H",
        "X-Forwarded-Proto: https",
        "-H",
        "X-Request-ID: mine",
    ];
    eventually("the host is served", || {
        (gatelet.status_of(HOST, "/") == 308).then_some(())
    });
    let answer = run(gatelet.curl(HOST, "/").args(said));
    assert_eq!(
        received(&answer, "x-forwarded-for"),
        ["6.6.6.6, 1.2.3.4, 10.1.1.1, 127.0.0.1"],
        "{answer}"
    );
    assert_eq!(
        received(&answer, "x-real-ip"),
        ["1.2.3.4"],
        "the last that is no proxy: {answer}"
    );
    assert_eq!(received(&answer, "x-request-id"), ["mine"], "{answer}");
    // An untrusted peer is redirected, because it does not speak TLS.
    let other = gatelet
        .curl(HOST, "/")
        .args(said)
        .args(["--interface", "127.0.0.9", "-w", "%{http_code}"])
        .output();
    assert_eq!(String::from_utf8_lossy(&other.expect("curl").stdout), "308");
}

#[test]
fn the_proxy_protocol_names_the_client() {
    let gatelet = Gatelet::configured("[proxy]\nproxy_protocol_from = [\"127.0.0.0/8\"]\n");
    let backend = Backend::start("policy");
    gatelet.apply(&backend.manifests("policy", HOST));
    let answer = eventually("the host is served", || {
        let output = gatelet
            .curl(HOST, "/")
            .args(["-f", "--haproxy-protocol"])
            .output()
            .expect("curl");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    });
    assert_eq!(
        received(&answer, "x-forwarded-for"),
        ["127.0.0.1"],
        "{answer}"
    );
    assert!(
        run(gatelet.curl_tls(HOST, "/").arg("--haproxy-protocol")).starts_with("policy\n"),
        "before TLS too"
    );
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let ask = |header: &[u8]| {
        let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
        connection.send(&[header, request.as_bytes()].concat())?;
        connection.answer()
    };
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0f".to_vec();
    v2.extend([
        192, 0, 2, 7, 192, 0, 2, 8, 0x30, 0x39, 0x01, 0xbb, 0x04, 0, 0,
    ]);
    let mut v2_six = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".to_vec();
    v2_six.extend([
        0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0x20, 1, 0xd, 0xb8,
    ]);
    v2_six.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0x30, 0x39, 0x01, 0xbb]);
    for (header, client, port) in [
        (
            &b"PROXY TCP4 192.0.2.7 192.0.2.8 12345 443\r\n"[..],
            "192.0.2.7",
            "443",
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::8 12345 443\r\n",
            "2001:db8::7",
            "443",
        ),
        (&v2, "192.0.2.7", "443"),
        (&v2_six, "2001:db8::7", "443"),
    ] {
        let answer = ask(header).expect("a response").text();
        assert_eq!(received(&answer, "x-forwarded-for"), [client], "{answer}");
        assert_eq!(received(&answer, "x-forwarded-port"), [port], "{answer}");
    }
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    assert_eq!(
        received(&ask(local).expect("a response").text(), "x-forwarded-for"),
        ["127.0.0.1"],
        "a health check"
    );
    let before = backend.count();
    for bad in [
        &b""[..],
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY TCP4 x y 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c",
    ] {
        assert!(ask(bad).is_err(), "{bad:?}");
    }
    assert_eq!(backend.count(), before);
}

#[test]
fn hosts_with_tls_are_redirected_and_pinned() {
    let mut gatelet = Gatelet::configured("hsts = \"max-age=31536000\"\n");
    let backend = Backend::start("policy");
    let ingress = |name: &str, annotation: &str, tls: bool| {
        let host = format!("{name}.example.com");
        let tls = if tls {
            format!("  tls: [{{hosts: [{host}]}}]\n")
        } else {
            String::new()
        };
        let annotated = format!("metadata: {{name: {name}, annotations: {{{annotation}}}}}");
        backend::ingress(name, &host, &tls)
            .replace(&format!("metadata: {{name: {name}}}"), &annotated)
            .replace(
                &format!("service: {{name: {name}"),
                "service: {name: policy",
            )
    };
    let all = [
        ingress("secure", "", true),
        ingress("none", "", false),
        ingress("free", "gatelet.dev/ssl-redirect: \"false\"", true),
        ingress(
            "nginx-free",
            "nginx.ingress.kubernetes.io/ssl-redirect: \"false\"",
            true,
        ),
        ingress(
            "forced",
            "nginx.ingress.kubernetes.io/force-ssl-redirect: \"true\"",
            false,
        ),
    ];
    // Other paths of a host with TLS: its default backend, and the paths that another object adds.
    let guest = ingress("secure", "", false)
        .replace("{name: secure,", "{name: added,")
        .replace("path: /,", "path: /added,");
    let rest = "metadata: {name: rest}
spec:
  defaultBackend: {service: {name: policy, port: {number: 80}}}
  tls: [{hosts: [rest.example.com]}]
  rules: [{host: rest.example.com}]
---
";
    let rest = format!("apiVersion: networking.k8s.io/v1\nkind: Ingress\n{rest}");
    let manifests = format!(
        "{}{}{guest}{rest}",
        backend.manifests("policy", HOST),
        all.concat()
    );
    gatelet.serve(&manifests, "none.example.com");
    let ask = |gatelet: &Gatelet, host: &str, path: &str| {
        run(gatelet.curl(&format!("{host}.example.com"), path).args([
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %{redirect_url}",
        ]))
    };
    let to = |host: &str| format!("308 https://{host}.example.com/a%20b?c=d&e");
    for (host, expected) in [
        ("secure", to("secure")),
        ("none", "200 ".to_owned()),
        ("free", "200 ".to_owned()),
        ("nginx-free", "200 ".to_owned()),
        ("forced", to("forced")),
    ] {
        assert_eq!(ask(&gatelet, host, "/a%20b?c=d&e"), expected, "{host}");
    }
    assert!(ask(&gatelet, "secure", "/added").starts_with("308 "));
    assert!(ask(&gatelet, "rest", "/").starts_with("308 "));
    assert_eq!(
        ask(&gatelet, "secure", "/.well-known/acme-challenge/token"),
        "200 ",
        "never for ACME"
    );
    let hsts = |command: &mut std::process::Command| {
        run(command.args(["-o", "/dev/null", "-D", "-"]))
            .to_lowercase()
            .contains("strict-transport-security: max-age=31536000\r\n")
    };
    assert!(
        !hsts(&mut gatelet.curl_tls("secure.example.com", "/")),
        "not with the local CA's certificate"
    );
    let ca = Certificate::make(&gatelet.folder, "ca", &["ca"], certificates::ECDSA);
    for (file, certificate, pinned) in [
        (
            "signed",
            ca.signed_by(&gatelet.folder, "signed", &["secure.example.com"]),
            true,
        ),
        (
            "own",
            Certificate::make(
                &gatelet.folder,
                "own",
                &["secure.example.com"],
                certificates::ECDSA,
            ),
            false,
        ),
    ] {
        let secure = ingress("secure", "", true)
            .replace("hosts: [", &format!("secretName: {file}, hosts: ["));
        gatelet.apply(&format!("{}{secure}", certificate.secret(file)));
        eventually("it is served", || {
            (certificates::shown(gatelet.https, "secure.example.com") == certificate.serial)
                .then_some(())
        });
        assert_eq!(
            hsts(gatelet.curl_tls("secure.example.com", "/").arg("-k")),
            pinned,
            "{file}"
        );
    }
    assert!(
        !hsts(&mut gatelet.curl_tls("none.example.com", "/")),
        "no TLS is asked for"
    );
    assert!(
        !hsts(&mut gatelet.curl("free.example.com", "/")),
        "never over plain HTTP"
    );
    // The redirect omits the port of the client's `Host`; 308 keeps the method.
    let answer = run(gatelet.curl("secure.example.com:8080", "/x").args([
        "-d",
        "body",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
    ]));
    assert_eq!(answer, "308 https://secure.example.com/x");

    gatelet.signal("TERM");
    gatelet.wait();
    gatelet.configure("ssl_redirect = false\n");
    gatelet.spawn();
    gatelet.wait_ready();
    assert_eq!(ask(&gatelet, "secure", "/"), "200 ", "off for all");
    assert!(
        ask(&gatelet, "forced", "/").starts_with("308 "),
        "unless it is forced"
    );
}

#[test]
fn requests_are_logged_as_text_or_json_or_not_at_all() {
    let backend = Backend::start("policy");
    let lines = |configuration: &str| {
        let mut gatelet = Gatelet::configured(configuration);
        gatelet.serve(&backend.manifests("policy", HOST), HOST);
        run(gatelet
            .curl(HOST, "/logged?q=1")
            .args(["-A", "agent \"007\"\t"]));
        gatelet.curl(HOST, "/status/500").output().expect("curl");
        gatelet.signal("TERM");
        gatelet.wait();
        let log = gatelet.log();
        log.lines()
            .filter(|line| line.contains("/logged") || line.contains("/status/500"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let text = lines("[log]\naccess = 1.0\n");
    assert_eq!(text.len(), 2, "{text:?}");
    for part in [
        "client=127.0.0.1",
        "method=GET",
        HOST,
        "/logged?q=1",
        "status=200",
        "default/policy",
    ] {
        assert!(text[0].contains(part), "{part}: {}", text[0]);
    }
    assert!(text[1].contains("status=500"), "{text:?}");

    let json = lines("[log]\naccess = 1.0\nformat = \"json\"\n");
    let line: serde_json::Value = serde_json::from_str(&json[0]).expect("JSON");
    assert_eq!(line["target"], "access", "{line}");
    assert_eq!(line["status"], 200, "{line}");
    assert_eq!(line["route"], "default/policy", "{line}");
    for (field, value) in [
        ("host", HOST),
        ("path", "/logged?q=1"),
        ("protocol", "HTTP/1.1"),
        ("agent", "agent \"007\""),
        ("referer", ""),
    ] {
        assert_eq!(line[field], value, "{line}");
    }

    assert_eq!(
        lines("[log]\naccess = 0.0\n").len(),
        1,
        "errors are written whatever the share"
    );
    assert_eq!(lines("").len(), 0);

    // An Ingress can leave itself out, with its errors.
    let mut gatelet = Gatelet::configured("[log]\naccess = 1.0\n");
    let silent = backend.manifests("policy", HOST).replace(
        "kind: Ingress\nmetadata: {name: policy}",
        "kind: Ingress\nmetadata:\n  name: policy\n  annotations:\n    \
         nginx.ingress.kubernetes.io/enable-access-log: \"false\"",
    );
    gatelet.serve(&silent, HOST);
    for path in ["/logged", "/status/500"] {
        assert_ne!(gatelet.status_of(HOST, path), 404);
    }
    gatelet.signal("TERM");
    gatelet.wait();
    let log = gatelet.log();
    assert!(
        !log.contains("/logged") && !log.contains("/status/500"),
        "{log}"
    );

    // A share of the requests: of 400 samples, the count is within 12 standard deviations.
    let mut gatelet = Gatelet::configured("[log]\naccess = 0.25\n");
    gatelet.serve(&backend.manifests("policy", HOST), HOST);
    let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
    for _ in 0..400 {
        assert_eq!(
            connection.get(HOST, "/sampled").expect("a response").status,
            200
        );
    }
    gatelet.signal("TERM");
    gatelet.wait();
    let sampled = gatelet
        .log()
        .lines()
        .filter(|line| line.contains("/sampled"))
        .count();
    assert!((1..200).contains(&sampled), "{sampled} of 400");
}

#[test]
fn hosts_and_paths_find_their_backends() {
    let gatelet = Gatelet::configured("default_backend = \"default/last:80\"\n");
    let names = ["exact", "wild", "any", "last"];
    let backends = names.map(Backend::start);
    let mut manifests = String::new();
    for (name, backend) in names.iter().zip(&backends) {
        manifests += &format!(
            "{}{}",
            backend::service(name, ""),
            backend::slice(name, &[backend.port])
        );
    }
    manifests += &backend::ingress("exact", "a.example.com", "");
    manifests += &backend::ingress("wild", "*.example.com", "");
    let nameless = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: any}
spec: {defaultBackend: {service: {name: any, port: {number: 80}}}}
---
";
    gatelet.serve(&manifests, "a.example.com");
    let who = |host: &str, path: &str| {
        gatelet
            .get(host, path)
            .lines()
            .next()
            .expect("a line")
            .to_owned()
    };
    for (host, expected) in [
        ("a.example.com", "exact"),
        ("A.EXAMPLE.COM", "exact"),
        ("a.example.com.", "exact"),
        ("a.example.com:1234", "exact"),
        ("b.example.com", "wild"),
        ("a.b.example.com", "last"),
        ("example.com", "last"),
        ("127.0.0.1", "last"),
        ("[::1]:80", "last"),
    ] {
        assert_eq!(who(host, "/"), expected, "{host}");
    }
    gatelet.apply(nameless);
    eventually("the nameless one is there", || {
        (who("example.org", "/") == "any").then_some(())
    });
    // Paths are matched and forwarded in their normalised form.
    for (sent, arrives) in [
        ("/a/../b/./c", "/b/c"),
        ("/%61%2f", "/a%2F"),
        ("//x", "//x"),
        ("/?q=/../", "/?q=/../"),
    ] {
        let answer = gatelet.get("a.example.com", sent);
        let line = answer.lines().nth(1).expect("a line").to_owned();
        assert_eq!(line, format!("GET {arrives} HTTP/1.1"), "{sent}");
    }
    // Absolute form, as clients send it to proxies.
    let mut command = std::process::Command::new("curl");
    command.args([
        "-sS",
        "-x",
        &format!("http://127.0.0.1:{}", gatelet.http),
        "http://a.example.com/proxied",
    ]);
    assert!(run(&mut command).starts_with("exact\nGET /proxied HTTP/1.1"));
}

#[test]
fn backends_may_speak_tls_or_be_known_by_name() {
    let gatelet = Gatelet::configured("[proxy]\nlocal_names = true\n");
    let backend = Backend::start("named");
    let certificate = Certificate::make(
        &gatelet.folder,
        "backend",
        &["backend.example.com"],
        certificates::RSA,
    );
    let port = super::support::free_port();
    let mut server = std::process::Command::new("openssl");
    server.args([
        "s_server",
        "-quiet",
        "-www",
        "-accept",
        &format!("127.0.0.1:{port}"),
        "-cert",
    ]);
    server
        .arg(&certificate.chain)
        .arg("-key")
        .arg(&certificate.key);
    let mut server = server.spawn().expect("openssl");
    let secure = backend::manifests("secure", "secure.example.com", port).replace(
        "kind: Ingress\nmetadata: {name: secure}",
        "kind: Ingress\nmetadata: {name: secure, annotations: \
            {nginx.ingress.kubernetes.io/backend-protocol: HTTPS}}",
    );
    let named = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: named}}
spec: {{type: ExternalName, externalName: localhost}}
---
{}",
        backend::ingress("named", "named.example.com", "")
            .replace("number: 80", &format!("number: {}", backend.port))
    );
    gatelet.apply(&format!("{secure}{named}"));
    eventually("the name is resolved", || {
        (gatelet.status_of("named.example.com", "/") == 200).then_some(())
    });
    assert!(
        gatelet
            .get("named.example.com", "/x")
            .starts_with("named\nGET /x HTTP/1.1\r\nhost: named.example.com\r\n")
    );
    eventually("TLS is spoken", || {
        (gatelet.status_of("secure.example.com", "/") == 200).then_some(())
    });
    assert!(gatelet.get("secure.example.com", "/").contains("s_server"));
    server.kill().expect("it runs");
    server.wait().expect("its status");
}

#[test]
fn paths_of_rules_are_normalised_as_requests_are() {
    let gatelet = Gatelet::start();
    let (plain, special) = (Backend::start("plain"), Backend::start("special"));
    let paths = backend::ingress("special", HOST, "").replace(
        "path: /, pathType: Prefix",
        "path: \"/a b\", pathType: Exact",
    );
    let more = backend::ingress("more", HOST, "")
        .replace(
            "path: /, pathType: Prefix",
            "path: \"/\u{e4}\", pathType: Prefix",
        )
        .replace("service: {name: more", "service: {name: special");
    gatelet.serve(&plain.manifests("plain", HOST), HOST);
    gatelet.apply(&format!(
        "{}{}{paths}{more}",
        backend::service("special", ""),
        backend::slice("special", &[special.port]),
    ));
    let who = |path: &str| {
        gatelet
            .get(HOST, path)
            .lines()
            .next()
            .expect("a line")
            .to_owned()
    };

    eventually("the special paths are served", || {
        (who("/a%20b") == "special").then_some(())
    });
    for (path, expected) in [
        ("/%C3%A4", "special"),
        ("/%c3%a4/x", "special"),
        ("/a%20b/x", "plain"),
        ("/a+b", "plain"),
    ] {
        assert_eq!(who(path), expected, "{path}");
    }
}
