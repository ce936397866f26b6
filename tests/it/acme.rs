//! Certificates of a whole gatelet process from a real CA (Pebble), as real clients see them.

mod challenges;
mod lives;

use std::{path::PathBuf, process::Command};

use serde_json::Value;

use super::support::{Folder, Gatelet, Pebble, eventually, pebble::Options, run};

/// A gatelet on the ports that a Pebble validates, with that Pebble as default issuer.
pub struct Site {
    pub pebble: Pebble,
    pub gatelet: Gatelet,
    /// The roots of Pebble's certificates so far.
    roots: Folder,
}

impl Site {
    /// Starts both. `issuer` is added to the issuer's table in the configuration.
    pub fn start(options: Options, issuer: &str) -> Self {
        Self::with(Pebble::start(options), issuer)
    }

    pub fn with(pebble: Pebble, issuer: &str) -> Self {
        let http = pebble.http_port;
        Self::listening(pebble, issuer, http)
    }

    /// Starts both, with another port for HTTP.
    pub fn listening(pebble: Pebble, issuer: &str, http: u16) -> Self {
        let mut gatelet = Gatelet::prepare(&[]);
        (gatelet.http, gatelet.https) = (http, pebble.tls_port);
        Self::of(pebble, gatelet, issuer)
    }

    /// Starts a prepared gatelet.
    pub fn of(pebble: Pebble, mut gatelet: Gatelet, issuer: &str) -> Self {
        gatelet.configure(&format!(
            "default_issuer = \"pebble\"\n\
            cert_manager_metrics = true\n\
            [[issuers]]\n\
            name = \"pebble\"\n\
            directory = \"{}\"\n\
            roots = \"{}\"\n\
            {issuer}\n",
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
                    "\n    - host: \"{host}\"\n      \
                    http: {{paths: [{{path: /, pathType: Prefix, backend: \
                    {{service: {{name: web, port: {{number: 80}}}}}}}}]}}"
                )
            })
            .collect();
        let quoted: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
        self.gatelet.apply(&format!(
            "apiVersion: networking.k8s.io/v1\n\
            kind: Ingress\n\
            metadata:\n  name: {name}\n  annotations: {{{annotations}}}\n\
            spec:\n  tls: [{{hosts: [{}], secretName: {name}-tls}}]\n  rules:{rules}\n",
            quoted.join(", ")
        ));
    }

    /// Returns a certificate's report from `certs`.
    pub fn certificate(&self, name: &str) -> Option<Value> {
        let output = self.gatelet.command(&["certs", "-o", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).ok()?;
        report["certificates"]
            .as_array()?
            .iter()
            .find(|one| one["name"] == name)
            .cloned()
    }

    /// Waits until a certificate is stored and not due. Returns its fingerprint.
    pub fn issued(&self, name: &str) -> String {
        eventually(&format!("{name} has a certificate"), || {
            let one = self.certificate(name)?;
            (one["state"] == "valid" && one["served"] == "pebble")
                .then(|| one["fingerprint"].as_str().unwrap().to_owned())
        })
    }

    /// Waits until the certificate with this fingerprint is replaced.
    pub fn reissued(&self, name: &str, before: &str) -> String {
        eventually(&format!("{name} has another certificate"), || {
            let now = self.issued(name);
            (now != before).then_some(now)
        })
    }

    /// Writes a file with Pebble's roots, which change when it is restarted.
    pub fn root(&self) -> PathBuf {
        self.roots
            .write("roots.pem", &self.pebble.manage("/roots/0"))
    }

    /// Returns true if curl, trusting only Pebble, connects over HTTPS. These Ingresses have no
    /// backend, so a 503 means that the certificate was trusted.
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

    /// Returns the SHA-256 fingerprint of the certificate that a client receives for a host.
    pub fn served(&self, host: &str) -> String {
        let script = format!(
            "openssl s_client -connect 127.0.0.1:{} -servername {host} </dev/null 2>/dev/null \
            | openssl x509 -noout -fingerprint -sha256",
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

    /// Returns the number of certificates that Pebble issued, according to its log.
    pub fn issuances(&self) -> usize {
        self.pebble
            .log()
            .matches("Issued certificate serial")
            .count()
    }
}
