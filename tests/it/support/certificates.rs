//! Certificates made with openssl, as users make them.

use std::{path::PathBuf, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Folder, run};

/// Kinds of keys, in the notation of `openssl req -newkey`.
pub const ECDSA: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
pub const RSA: &[&str] = &["rsa:2048"];

/// A certificate in files.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
    /// Its serial number in hexadecimal, as openssl prints it.
    pub serial: String,
}

impl Certificate {
    /// Makes a self-signed certificate for names (adding `DNS:` before each) in files called
    /// `file`.
    pub fn make(folder: &Folder, file: &str, names: &[&str], kind: &[&str]) -> Self {
        Self::create(folder, file, names, kind, &["-subj", "/CN=test"])
    }

    /// Makes a certificate that is signed by another one.
    pub fn signed_by(&self, folder: &Folder, file: &str, names: &[&str]) -> Self {
        let [chain, key] =
            [&self.chain, &self.key].map(|path| path.to_str().expect("a name in ASCII"));
        Self::create(
            folder,
            file,
            names,
            ECDSA,
            &["-subj", "/CN=signed", "-CA", chain, "-CAkey", key],
        )
    }

    /// Makes a self-signed certificate of X.509 v1, which has no names.
    pub fn old(folder: &Folder, file: &str) -> Self {
        let mut certificate = Self::make(folder, file, &["replaced.example.com"], ECDSA);
        let request = folder.path().join(format!("{file}.csr"));
        let mut command = Command::new("openssl");
        run(command
            .args(["req", "-new", "-subj", "/CN=old", "-key"])
            .arg(&certificate.key)
            .arg("-out")
            .arg(&request));
        let mut command = Command::new("openssl");
        command
            .args(["x509", "-req", "-days", "30", "-in"])
            .arg(&request)
            .arg("-signkey")
            .arg(&certificate.key);
        run(command.arg("-out").arg(&certificate.chain));

        let text = run(Command::new("openssl")
            .args(["x509", "-noout", "-serial", "-text", "-in"])
            .arg(&certificate.chain));
        if !text.contains("Version: 1 ") {
            // OpenSSL 3.2 and later make v3 unless told otherwise.
            let mut command = Command::new("openssl");
            command.args([
                "req", "-x509", "-x509v1", "-new", "-subj", "/CN=old", "-days", "30", "-key",
            ]);
            run(command
                .arg(&certificate.key)
                .arg("-out")
                .arg(&certificate.chain));
        }
        let said = run(Command::new("openssl")
            .args(["x509", "-noout", "-serial", "-in"])
            .arg(&certificate.chain));
        said.trim()
            .trim_start_matches("serial=")
            .clone_into(&mut certificate.serial);
        certificate
    }

    fn create(
        folder: &Folder,
        file: &str,
        names: &[&str],
        kind: &[&str],
        arguments: &[&str],
    ) -> Self {
        let chain = folder.path().join(format!("{file}.crt"));
        let key = folder.path().join(format!("{file}.key"));
        let names: Vec<_> = names.iter().map(|name| format!("DNS:{name}")).collect();
        let mut command = Command::new("openssl");
        command
            .args(["req", "-x509", "-days", "30", "-nodes"])
            .args(arguments)
            .arg("-newkey")
            .args(kind);
        command
            .arg("-addext")
            .arg(format!("subjectAltName={}", names.join(",")));
        command.arg("-keyout").arg(&key).arg("-out").arg(&chain);
        run(&mut command);
        let said = run(Command::new("openssl")
            .args(["x509", "-noout", "-serial", "-in"])
            .arg(&chain));
        Self {
            chain,
            key,
            serial: said.trim().trim_start_matches("serial=").to_owned(),
        }
    }

    /// Returns a Secret of type TLS with it.
    pub fn secret(&self, name: &str) -> String {
        let read = |path| STANDARD.encode(std::fs::read(path).expect("openssl wrote it"));
        format!(
            "apiVersion: v1
kind: Secret
metadata: {{name: {name}}}
type: kubernetes.io/tls
data:
  tls.crt: \"{}\"
  tls.key: \"{}\"
---
",
            read(&self.chain),
            read(&self.key)
        )
    }
}

/// Returns the serial number of the certificate that a listener on 127.0.0.1 presents for a server
/// name.
pub fn shown(port: u16, name: &str) -> String {
    let mut command = Command::new("sh");
    let script = format!(
        "openssl s_client -connect 127.0.0.1:{port} -servername {name} </dev/null 2>/dev/null | \
            openssl x509 -noout -serial"
    );
    run(command.args(["-c", &script]))
        .trim()
        .trim_start_matches("serial=")
        .to_owned()
}
