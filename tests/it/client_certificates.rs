//! Certificates of clients, with curl, openssl and a WebSocket client: on connections that last,
//! for hosts that share them, and while Secrets change.

mod connections;
mod resumption;
mod spoofing;

use std::process::Command;

use super::support::{
    Backend, Connection, Folder, Gatelet, backend,
    certificates::ECDSA,
    client_certificates::{Authority, ClientFiles, arguments, of_client, secret},
    eventually,
    http::{client_config_of, client_config_with},
    peers::{Server, script},
    run,
};

const HOST: &str = "vault.example.com";
const SECRET: &str = "gatelet.dev/auth-tls-secret: ca";

/// A gatelet with an app behind certificates of clients.
struct Site {
    gatelet: Gatelet,
    app: Backend,
    authority: Authority,
    client: ClientFiles,
}

impl Site {
    /// Starts them with annotations beside the Secret, one in a line.
    fn start(annotations: &str) -> Self {
        let (gatelet, app) = (Gatelet::start(), Backend::start("app"));
        let authority = Authority::root("Shop CA");
        let client = authority.issue(&gatelet.folder, "ann", &of_client("ann"));
        let site = Self {
            gatelet,
            app,
            authority,
            client,
        };

        site.gatelet.apply(&secret("ca", &site.authority.pem(), ""));
        site.gatelet.apply(&site.app.manifests("app", HOST));
        site.gatelet
            .apply(&ingress("app", HOST, &format!("{SECRET}\n{annotations}")));
        site.asks();
        site
    }

    /// Waits until the client comes in.
    fn asks(&self) {
        eventually("the client comes in", || {
            let (status, body) = self.curl(HOST, Some(&self.client), &[]);
            (status == 200 && body.contains("ssl-client-verify: SUCCESS")).then_some(())
        });
    }

    /// Returns the status and the body that curl gets over HTTPS.
    fn curl(&self, host: &str, client: Option<&ClientFiles>, more: &[&str]) -> (u16, String) {
        let mut curl = self.gatelet.curl_tls(host, "/");
        curl.args(client.map(arguments).unwrap_or_default());
        let text = run(curl.args(["-w", "\n%{http_code}"]).args(more));
        let (body, status) = text.rsplit_once('\n').expect("a line of our own");
        (status.parse().expect("a status"), body.to_owned())
    }

    /// Returns the status for a client.
    fn status(&self, client: Option<&ClientFiles>) -> u16 {
        self.curl(HOST, client, &[]).0
    }

    /// Connects with a server name, and a certificate if there is one.
    fn connect(&self, name: &str, client: Option<&ClientFiles>) -> Connection {
        let config = client_config_with(&["http/1.1"], client);
        let addr = self.gatelet.https_addr();
        Connection::tls_with(addr, name, config).expect("a connection")
    }
}

/// An Ingress with annotations for the Service `app`.
fn ingress(name: &str, host: &str, annotations: &str) -> String {
    let lines = annotations.lines().map(str::trim);
    let lines: String = lines.map(|line| format!("    {line}\n")).collect();
    backend::ingress(name, host, "")
        .replace(
            &format!("metadata: {{name: {name}}}\n"),
            &format!("metadata:\n  name: {name}\n  annotations:\n{lines}"),
        )
        .replace(&format!("service: {{name: {name}"), "service: {name: app")
}

#[test]
fn a_host_lets_clients_in_by_their_certificates() {
    let site = Site::start("");
    let client = Some(&site.client);
    for more in [["--http1.1"], ["--http2"]] {
        for version in ["1.2", "1.3"] {
            let more = [more[0], "--tls-max", version];
            let (status, body) = site.curl(HOST, client, &more);
            assert_eq!(status, 200, "{more:?}");
            let subject = "ssl-client-subject-dn: CN=ann,O=Shop\\, Inc,C=DE";
            assert!(body.contains(subject), "{body}");
            assert!(
                body.contains("ssl-client-issuer-dn: CN=Shop CA,O=Shop"),
                "{body}"
            );

            let (status, body) = site.curl(HOST, None, &more);
            assert_eq!(status, 400, "{more:?}");
            assert!(
                body.contains("no required SSL certificate was sent"),
                "{body}"
            );
        }
    }

    // Nobody can show a certificate over plain HTTP.
    let before = site.app.count();
    assert_eq!(site.gatelet.status_of(HOST, "/"), 308);
    let challenge = "/.well-known/acme-challenge/of-the-backend";
    assert_eq!(site.gatelet.status_of(HOST, challenge), 400);
    assert_eq!(site.app.count(), before);

    let url = format!("https://{HOST}/");
    let explained = run(&mut site.gatelet.command_line(&["explain", &url]));
    assert!(explained.contains("client certificate"), "{explained}");
    assert!(
        explained.contains("400 without a certificate of 1 authority"),
        "{explained}"
    );
}

#[test]
fn a_certificate_without_its_key_breaks_the_handshake() {
    let site = Site::start("");
    let folder = Folder::new();
    let other = site.authority.issue(&folder, "other", &of_client("bob"));
    let old = site.authority.issue_old(&folder, "old", ECDSA, "2");
    let own_old = site.authority.issue_old(&folder, "own", ECDSA, "3");

    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let get = |chain: &ClientFiles, key: &ClientFiles| {
            let client = ClientFiles {
                chain: chain.chain.clone(),
                key: key.key.clone(),
            };
            let config = client_config_of(&[version], &["http/1.1"], Some(&client));
            let addr = site.gatelet.https_addr();
            let connected = Connection::tls_with(addr, HOST, config);
            let answer = connected.and_then(|mut connection| connection.get(HOST, "/"));
            answer.ok().map(|answer| answer.status)
        };
        for own in [&site.client, &old, &own_old] {
            assert_eq!(get(own, own), Some(200), "{version:?}");
        }
        for (chain, key) in [
            (&site.client, &other),
            (&old, &own_old),
            (&old, &other),
            (&site.client, &old),
        ] {
            assert_eq!(get(chain, key), None, "{version:?}");
        }
    }
}

#[test]
fn a_websocket_has_the_certificate_of_its_client() {
    let site = Site::start("");
    let server = Server::start("websocket_server.py", &[]);
    site.gatelet
        .apply(&backend::slice("app", &[server.ports[0]]));

    let ca = site.gatelet.state().join("ca.pem");
    let connect = |client: Option<&ClientFiles>| {
        let mut command = script("websocket_client.py");
        command
            .args([HOST, &site.gatelet.https.to_string()])
            .arg(&ca);
        if let Some(client) = client {
            command.arg(&client.chain).arg(&client.key);
        }
        command.output().expect("python")
    };
    eventually("the WebSocket is there", || {
        let output = connect(Some(&site.client));
        let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
        said.contains("ssl-client-verify: success").then_some(())
    });
    let refused = connect(None);
    assert!(!refused.status.success());
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("400"), "{why}");
}
