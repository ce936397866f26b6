//! Exchanges that outlive a request and a response: WebSocket and gRPC, with real clients and
//! servers.

use super::support::{
    Certificate, Gatelet, backend, certificates, eventually,
    peers::{Server, script},
    run,
};

const HOST: &str = "sockets.example.com";

/// Returns a Service whose port has this `appProtocol`, an endpoint of it, and an Ingress with an
/// annotation.
fn manifests(port: u16, kind: &str, annotation: &str) -> String {
    let ingress = backend::ingress("sockets", HOST, "").replace(
        "metadata: {name: sockets}",
        &format!("metadata: {{name: sockets, annotations: {{{annotation}}}}}"),
    );
    format!(
        "{}{}{ingress}",
        backend::service("sockets", kind),
        backend::slice("sockets", &[port])
    )
}

fn live(gatelet: &Gatelet, port: u16) {
    eventually("the backend is live", || {
        let backends = gatelet.status()["backends"].to_string();
        backends
            .contains(&format!("127.0.0.1:{port}"))
            .then_some(())
    });
}

#[test]
fn websockets_pass_with_and_without_tls_and_may_be_idle() {
    let gatelet = Gatelet::configured(
        "[proxy]\nclient_idle_timeout = \"1s\"\nupstream_idle_timeout = \"1s\"\n",
    );
    let server = Server::start("websocket_server.py", &[]);
    gatelet.apply(&manifests(server.ports[0], "", ""));
    live(&gatelet, server.ports[0]);
    let ca = gatelet.state().join("ca.pem");
    let plain = script("websocket_client.py")
        .args([HOST, &gatelet.http.to_string()])
        .output();
    let saw = run(script("websocket_client.py")
        .args([HOST, &gatelet.https.to_string()])
        .arg(ca));
    assert!(plain.expect("python").status.success());
    assert!(
        saw.to_lowercase().contains("x-forwarded-proto: https"),
        "{saw}"
    );
    assert!(saw.to_lowercase().contains("upgrade: websocket"), "{saw}");
    eventually("both ends know how each connection ended", || {
        let said = server.said();
        let count = |text: &str| said.iter().filter(|line| line.as_str() == text).count();
        (count("over /echo 4001") == 2 && count("over /abrupt 1006") == 2).then_some(())
    });
    // None of the connections remains open.
    let metrics = run(std::process::Command::new("curl")
        .args(["-s", &format!("http://127.0.0.1:{}/metrics", gatelet.admin)]));
    assert!(metrics.contains("gatelet_upgrades_total 6\n"), "{metrics}");
}

#[test]
fn a_refused_upgrade_stays_a_plain_response() {
    let gatelet = Gatelet::start();
    let backend = super::support::Backend::start("plain");
    gatelet.serve(&backend.manifests("plain", HOST), HOST);
    let answer = run(gatelet.curl(HOST, "/").args([
        "-H",
        "Connection: Upgrade",
        "-H",
        "Upgrade: websocket",
    ]));
    assert!(
        answer.to_lowercase().contains("\nupgrade: websocket\r\n"),
        "{answer}"
    );
    // h2c is never passed on, alone or in a list.
    for (offered, passed) in [
        ("h2c", None),
        ("h2c, websocket", Some("websocket")),
        ("HTTP2-Settings", None),
    ] {
        let upgrade = format!("Upgrade: {offered}");
        let mut command = gatelet.curl(HOST, "/");
        command.args([
            "-H",
            "Connection: Upgrade, HTTP2-Settings",
            "-H",
            &upgrade,
            "-H",
            "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
        ]);
        let answer = run(&mut command).to_lowercase();
        assert!(
            !answer.contains("h2c") && !answer.contains("\nhttp2-settings:"),
            "{offered}: {answer}"
        );
        if let Some(passed) = passed {
            assert!(
                answer.contains(&format!("\nupgrade: {passed}\r\n")),
                "{offered}: {answer}"
            );
        }
    }
}

#[test]
fn grpc_passes_with_trailers_errors_and_deadlines() {
    let gatelet = Gatelet::start();
    let certificate = Certificate::make(
        &gatelet.folder,
        "backend",
        &["backend.example.com"],
        certificates::ECDSA,
    );
    let (chain, key) = (
        certificate.chain.display().to_string(),
        certificate.key.display().to_string(),
    );
    let server = Server::start("grpc_server.py", &[&chain, &key]);
    let [plain, secure] = server.ports[..] else {
        panic!("{:?}", server.ports)
    };
    let client = |port: u16, tls: bool, what: &str| {
        let mut command = script("grpc_client.py");
        command.args([HOST, &port.to_string(), what]);
        if tls {
            command.arg(gatelet.state().join("ca.pem"));
        }
        run(&mut command)
    };
    assert!(
        client(gatelet.http, false, "UNIMPLEMENTED").contains("no route"),
        "before there is a route"
    );
    let kinds = [
        (plain, "appProtocol: kubernetes.io/h2c", ""),
        (
            plain,
            "",
            "nginx.ingress.kubernetes.io/backend-protocol: GRPC",
        ),
        (
            secure,
            "",
            "nginx.ingress.kubernetes.io/backend-protocol: GRPCS",
        ),
    ];
    for (round, (port, kind, annotation)) in (1..).zip(kinds) {
        gatelet.apply(&manifests(port, kind, annotation));
        live(&gatelet, port);
        assert_eq!(
            client(gatelet.https, true, "all"),
            "ok\n",
            "{kind}{annotation}"
        );
        if round == 1 {
            assert_eq!(
                client(gatelet.http, false, "all"),
                "ok\n",
                "with prior knowledge"
            );
        }
        eventually("the late call was cancelled at the server", || {
            let over = server.said().len();
            (over == round + 1).then_some(())
        });
    }
    // A response that ends with its head ends for clients of HTTP/1.1 too.
    let mut curl = gatelet.curl(HOST, "/test.Peer/Unknown");
    curl.args(["--http1.1", "-i", "-m", "20", "-d", "x"]);
    let said = run(curl.args(["-H", "Content-Type: application/grpc", "-H", "TE: trailers"]));
    assert!(
        said.contains("content-length: 0\r\n") && said.contains("grpc-status: 12\r\n"),
        "{said}"
    );
    drop(server);
    assert!(
        !client(gatelet.https, true, "UNAVAILABLE").is_empty(),
        "a refused connection"
    );
    gatelet.kubectl(&["delete", "endpointslice", "sockets-1"]);
    eventually("it has no endpoints", || {
        let mut command = script("grpc_client.py");
        command.args([HOST, &gatelet.http.to_string(), "UNAVAILABLE"]);
        run(&mut command).contains("no endpoints").then_some(())
    });
}

/// gRPC servers end a connection on which pings come more often than every 5 minutes, by default.
#[test]
fn a_grpc_stream_may_be_silent_for_longer_than_connections_idle() {
    let gatelet = Gatelet::configured("[proxy]\nupstream_idle_timeout = \"1s\"\n");
    let server = Server::start("grpc_server.py", &[]);
    gatelet.apply(&manifests(
        server.ports[0],
        "appProtocol: kubernetes.io/h2c",
        "",
    ));
    live(&gatelet, server.ports[0]);
    let mut command = script("grpc_client.py");
    assert_eq!(
        run(command.args([HOST, &gatelet.http.to_string(), "quiet 8"])),
        "ok\n"
    );
}
