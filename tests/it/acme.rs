//! Certificates of a whole gatelet process, from a real CA (Pebble), for what real clients see.

mod challenges;
mod lives;

use std::{path::PathBuf, process::Command};

use serde_json::Value;

use super::support::{Folder, Gatelet, Pebble, eventually, pebble::Options, run};

/// A gatelet whose ports are those that a Pebble validates, with that as default issuer.
pub struct Site {
    pub pebble: Pebble,
    pub gatelet: Gatelet,
    /// The roots of the certificates that Pebble issued so far.
    roots: Folder,
}

impl Site {
    /// `issuer` is added to the issuer's table in the configuration.
    pub fn start(options: Options, issuer: &str) -> Self {
        Self::with(Pebble::start(options), issuer)
    }

    pub fn with(pebble: Pebble, issuer: &str) -> Self {
        let http = pebble.http_port;
        Self::listening(pebble, issuer, http)
    }

    /// With another port for HTTP.
    pub fn listening(pebble: Pebble, issuer: &str, http: u16) -> Self {
        let mut gatelet = Gatelet::prepare(&[]);
        (gatelet.http, gatelet.https) = (http, pebble.tls_port);
        Self::of(pebble, gatelet, issuer)
    }

    /// With a gatelet that is prepared.
    pub fn of(pebble: Pebble, mut gatelet: Gatelet, issuer: &str) -> Self {
        gatelet.configure(&format!(
            "default_issuer = \"pebble\"\ncert_manager_metrics = true\n[[issuers]]\nname = \"pebble\"\ndirectory = \"{}\"\nroots = \"{}\"\n{issuer}\n",
            pebble.directory(),
            pebble.root().display(),
        ));
        gatelet.spawn();
        gatelet.wait_ready();
        Self {
            pebble,
            gatelet,
            roots: Folder::new(),
        }
    }

    /// Applies an Ingress `name` for hosts, all under one `tls` entry with the Secret `name-tls`.
    pub fn ingress(&self, name: &str, hosts: &[&str], annotations: &str) {
        let rules: String = hosts
            .iter()
            .map(|host| {
                format!(
                    "\n    - host: \"{host}\"\n      http: {{paths: [{{path: /, pathType: Prefix, backend: {{service: {{name: web, port: {{number: 80}}}}}}}}]}}"
                )
            })
            .collect();
        let quoted: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
        self.gatelet.apply(&format!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  annotations: {{{annotations}}}\nspec:\n  tls: [{{hosts: [{}], secretName: {name}-tls}}]\n  rules:{rules}\n",
            quoted.join(", ")
        ));
    }

    /// What `certs` says of a certificate.
    pub fn certificate(&self, name: &str) -> Option<Value> {
        let output = self.gatelet.command(&["certs", "-o", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).ok()?;
        report["certificates"]
            .as_array()?
            .iter()
            .find(|one| one["name"] == name)
            .cloned()
    }

    /// Waits until a certificate is held and no longer due; its fingerprint.
    pub fn issued(&self, name: &str) -> String {
        eventually(&format!("{name} has a certificate"), || {
            let one = self.certificate(name)?;
            (one["state"] == "valid" && one["served"] == "pebble")
                .then(|| one["fingerprint"].as_str().unwrap().to_owned())
        })
    }

    /// Waits until another certificate is held than the one with this fingerprint.
    pub fn reissued(&self, name: &str, before: &str) -> String {
        eventually(&format!("{name} has another certificate"), || {
            let now = self.issued(name);
            (now != before).then_some(now)
        })
    }

    /// A file with Pebble's roots. They are others after it was started again.
    pub fn root(&self) -> PathBuf {
        self.roots
            .write("roots.pem", &self.pebble.manage("/roots/0"))
    }

    /// What curl gets over HTTPS, trusting only Pebble. There is no backend behind these Ingresses:
    /// 503 comes over a connection that was trusted.
    pub fn trusted(&self, host: &str) -> bool {
        let mut command = Command::new("curl");
        command.args(["-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}"]);
        command
            .args([
                "--resolve",
                &format!("{host}:{}:127.0.0.1", self.gatelet.https),
                "--cacert",
            ])
            .arg(self.root());
        command.arg(format!("https://{host}:{}/", self.gatelet.https));
        let output = command.output().expect("curl");
        output.status.success() && output.stdout == b"503"
    }

    /// SHA-256 of the certificate that a client gets for a host.
    pub fn served(&self, host: &str) -> String {
        let script = format!(
            "openssl s_client -connect 127.0.0.1:{} -servername {host} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256",
            self.gatelet.https
        );
        let said = run(Command::new("sh").args(["-c", &script]));
        said.trim()
            .rsplit('=')
            .next()
            .unwrap_or_default()
            .replace(':', "")
            .to_ascii_lowercase()
    }

    /// How many certificates Pebble issued, as its log says.
    pub fn issuances(&self) -> usize {
        self.pebble
            .log()
            .matches("Issued certificate serial")
            .count()
    }
}
