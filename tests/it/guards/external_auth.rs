//! Logins that another server checks. Whatever that server does, a request comes in with its
//! consent alone.

mod decisions;
mod fields;
mod places;
pub mod server;

use serde_json::Value;
use server::{AuthServer, Reply};

use crate::support::{Answer, Backend, Connection, Gatelet, eventually};

const HOST: &str = "app.example.com";
/// The server by the name of its Service, which no DNS knows here.
const URL: &str = "auth-url=http://auth.default.svc.cluster.local/verify";

/// A gatelet with an app behind a server that checks logins.
struct Site {
    gatelet: Gatelet,
    app: Backend,
    auth: AuthServer,
}

impl Site {
    /// Starts them with annotations of ingress-nginx.
    fn start(annotations: &[&str], reply: Reply) -> Self {
        let names = annotations.iter();
        let names = names.map(|one| format!("nginx.ingress.kubernetes.io/{one}"));
        let names: Vec<String> = names.collect();
        Self::with(Gatelet::start(), &names, reply)
    }

    /// Starts them with whole annotations.
    fn with(gatelet: Gatelet, annotations: &[String], reply: Reply) -> Self {
        let (app, auth) = (Backend::start("app"), AuthServer::start(reply));
        gatelet.apply(&auth.manifests());
        let pairs = annotations.iter().map(|one| {
            let (name, value) = one.split_once('=').expect("a value");
            format!("    {name}: {value:?}\n")
        });
        let pairs: String = pairs.collect();
        let annotated = app.manifests("app", HOST).replace(
            "kind: Ingress\nmetadata: {name: app}",
            &format!("kind: Ingress\nmetadata:\n  name: app\n  annotations:\n{pairs}"),
        );
        gatelet.apply(&annotated);
        let site = Self { gatelet, app, auth };
        eventually("the route is there", || {
            (site.gatelet.status_of(HOST, "/") != 404).then_some(())
        });
        site
    }

    /// Sends a request with further lines, and returns the response.
    fn request(&self, line: &str, more: &str) -> Answer {
        let mut connection = Connection::open(self.gatelet.http_addr()).expect("a connection");
        let text = format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n");
        connection.send(text.as_bytes()).expect("sent");
        connection.answer().expect("a response")
    }

    fn get(&self, more: &str) -> Answer {
        self.request("GET /", more)
    }

    /// Checks that a request is refused with a status, and does not reach the app.
    fn refuses(&self, status: u16, line: &str, more: &str, what: &str) -> Answer {
        let before = self.app.count();
        let answer = self.request(line, more);
        assert_eq!(answer.status, status, "{what}: {}", answer.head);
        assert_eq!(self.app.count(), before, "{what} came through");
        answer
    }

    /// Returns the messages of the findings.
    fn findings(&self) -> Vec<String> {
        let status = self.gatelet.status();
        let findings = status["findings"].as_array().expect("a list");
        let text = |finding: &Value| {
            let part = |key: &str| finding[key].as_str().expect("text").to_owned();
            format!("{} {} {}", part("reason"), part("field"), part("message"))
        };
        findings.iter().map(text).collect()
    }
}
