//! Real validation of challenges: the CA's requests to the servers of a name, and the responses
//! that it accepts.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use ring::digest;
use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::{TxtLookup, Validation, order, problem::Problem, server::Shared, state::Identifier};
use crate::support::http::client_config;

/// The `id-pe-acmeIdentifier` extension (RFC 8737).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

/// A challenge to try.
pub(super) struct Job {
    pub(super) authz: u64,
    pub(super) kind: &'static str,
    pub(super) identifier: Identifier,
    pub(super) token: String,
    pub(super) key_authorization: String,
    pub(super) account_url: String,
}

/// Tries a challenge and records the result.
pub(super) async fn run(shared: Arc<Shared>, job: Job) {
    let (validation, txt, now) = {
        let state = shared.state();
        (
            state.validation(&job.identifier),
            state.options.txt.clone(),
            state.now(),
        )
    };
    // Let's Encrypt gives a server ten seconds.
    let tried = timeout(
        Duration::from_secs(10),
        attempt(&job, &validation, txt, now),
    )
    .await;
    let result = tried
        .unwrap_or_else(|_late| Err(Problem::new("connection", "timeout during connect or read")));
    order::finish(&mut shared.state(), job.authz, result);
}

async fn attempt(
    job: &Job,
    validation: &Validation,
    txt: Option<TxtLookup>,
    now: Timestamp,
) -> Result<(), Problem> {
    let (http_port, tls_port) = match validation {
        Validation::AlwaysValid => return Ok(()),
        Validation::Fail(problem) => return Err(problem.clone()),
        Validation::Real {
            http_port,
            tls_port,
        } => (*http_port, *tls_port),
    };
    match job.kind {
        "http-01" => http(job, http_port).await,
        "tls-alpn-01" => tls_alpn(job, tls_port).await,
        kind => {
            let label = if kind == "dns-01" {
                "_acme-challenge"
            } else {
                "_validation-persist"
            };
            let name = format!("{label}.{}", job.identifier.base());
            let lookup = txt.ok_or_else(|| {
                Problem::new("dns", format!("NXDOMAIN looking up TXT for {name}"))
            })?;
            // The test may query a real server for it.
            let asked = name.clone();
            let records = tokio::task::spawn_blocking(move || lookup(&asked))
                .await
                .unwrap_or_default();
            let wanted = URL_SAFE_NO_PAD.encode(sha256(&job.key_authorization));
            let right = |record: &String| {
                if kind == "dns-01" {
                    *record == wanted
                } else {
                    persists(job, record, now)
                }
            };
            if records.iter().any(right) {
                return Ok(());
            }
            Err(Problem::new(
                "unauthorized",
                format!("no right TXT record at {name}, found {records:?}"),
            ))
        }
    }
}

async fn http(job: &Job, port: u16) -> Result<(), Problem> {
    let host = match &job.identifier {
        Identifier::Ip(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        other => other.text(),
    };
    let path = format!("/.well-known/acme-challenge/{}", job.token);
    let failed = |error: &dyn std::fmt::Display| {
        Problem::new("connection", format!("http://{host}{path}: {error}"))
    };
    let stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .map_err(|error| failed(&error))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let request = Request::get(&path)
        .header("Host", &host)
        .header("User-Agent", "chaos-validation");
    let request = request.body(Empty::<Bytes>::new()).expect("a good request");
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| failed(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), 65_536)
        .collect()
        .await
        .map_err(|error| failed(&error))?
        .to_bytes();
    if status != 200 {
        return Err(Problem::new(
            "unauthorized",
            format!("invalid response from http://{host}{path}: {status}"),
        ));
    }
    if body.trim_ascii_end() != job.key_authorization.as_bytes() {
        let text = String::from_utf8_lossy(&body[..body.len().min(100)]).into_owned();
        let detail = format!(
            "the key authorization file has not {:?} but {text:?}",
            job.key_authorization
        );
        return Err(Problem::new("unauthorized", detail));
    }
    Ok(())
}

async fn tls_alpn(job: &Job, port: u16) -> Result<(), Problem> {
    let name = match &job.identifier {
        Identifier::Dns(name) => name.clone(),
        Identifier::Ip(address) => reverse(*address),
    };
    let server =
        ServerName::try_from(name).map_err(|error| Problem::new("tls", error.to_string()))?;
    let stream = TcpStream::connect(("127.0.0.1", port)).await;
    let stream = stream.map_err(|error| Problem::new("connection", error.to_string()))?;
    let connector = TlsConnector::from(Arc::new(client_config(&["acme-tls/1"])));
    let stream = connector
        .connect(server, stream)
        .await
        .map_err(|error| Problem::new("tls", error.to_string()))?;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(b"acme-tls/1") {
        return Err(Problem::new(
            "unauthorized",
            "cannot negotiate ALPN protocol \"acme-tls/1\"",
        ));
    }
    let shown = session
        .peer_certificates()
        .and_then(|chain| chain.first())
        .cloned();
    let shown = shown.ok_or_else(|| Problem::new("tls", "no certificate"))?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&shown)
        .map_err(|error| Problem::new("tls", error.to_string()))?;
    let san = parsed
        .subject_alternative_name()
        .ok()
        .flatten()
        .map(|san| san.value.general_names.clone());
    let named = match (&job.identifier, san.as_deref()) {
        (Identifier::Dns(name), Some([GeneralName::DNSName(shown)])) => shown == name,
        (Identifier::Ip(address), Some([GeneralName::IPAddress(shown)])) => match address {
            std::net::IpAddr::V4(address) => *shown == address.octets(),
            std::net::IpAddr::V6(address) => *shown == address.octets(),
        },
        _ => false,
    };
    // An OCTET STRING of 32 bytes.
    let wanted = [&[4, 32], sha256(&job.key_authorization).as_ref()].concat();
    let identified = parsed.extensions().iter().any(|extension| {
        let is_it = extension.critical && extension.oid.to_id_string() == ACME_IDENTIFIER;
        is_it
            && extension.value == wanted
            && matches!(
                extension.parsed_extension(),
                ParsedExtension::UnsupportedExtension { .. }
            )
    });
    if !named || !identified {
        return Err(Problem::new(
            "unauthorized",
            "not the certificate of this challenge",
        ));
    }
    Ok(())
}

/// RFC 8738 section 6.
fn reverse(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        std::net::IpAddr::V6(address) => {
            let nibbles = address
                .octets()
                .into_iter()
                .rev()
                .map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4));
            nibbles.collect::<String>() + "ip6.arpa"
        }
    }
}

/// Returns whether a persistent record is for this CA and account, and covers the name.
fn persists(job: &Job, record: &str, now: Timestamp) -> bool {
    let mut parts = record.split(';').map(str::trim);
    let is_ours = parts.next() == Some("ca.test");
    let pairs: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
    let is = |name: &str, value: &str| pairs.contains(&(name, value));
    let ended = |(name, value): &(&str, &str)| {
        *name == "persistUntil"
            && value
                .parse()
                .is_ok_and(|until: i64| until < now.as_second())
    };
    is_ours
        && !pairs.iter().any(ended)
        && is("accounturi", &job.account_url)
        && (!job.identifier.is_wildcard() || is("policy", "wildcard"))
}

fn sha256(text: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, text.as_bytes())
}
