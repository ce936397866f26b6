//! Unusual handshakes: those of a CA that validates a name, and those for an address; and the
//! effects of the served certificate.

use std::net::IpAddr;

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;
use crate::{
    routing::{Host, HostPattern},
    tls::{
        Certificate, ChallengeKind, ChallengeMap, Issued, SniMap, challenge_certificate, provider,
    },
};

/// The oid of the extension with the digest (RFC 8737 section 6.1).
const ACME_IDENTIFIER: &str = "1.3.6.1.5.5.7.1.31";

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

/// Accepts every certificate: that of a challenge has a critical extension that other verifiers
/// must not ignore.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A client that trusts every certificate.
fn client(name: &str, alpn: &[&str]) -> ClientConnection {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    config.resumption = Resumption::disabled();
    ClientConnection::new(
        Arc::new(config),
        ServerName::try_from(name.to_owned()).unwrap(),
    )
    .unwrap()
}

fn open(front: &Front) -> TcpStream {
    let stream = TcpStream::connect(front.https).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// The handshake as its client sees it.
pub(crate) fn shake(
    front: &Front,
    name: &str,
    alpn: &[&str],
) -> Result<StreamOwned<ClientConnection, TcpStream>, std::io::Error> {
    let mut stream = StreamOwned::new(client(name, alpn), open(front));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// The DNS names and addresses of the certificate that the server has shown, and the digest if it
/// has one.
fn shown(connection: &ClientConnection) -> (String, Option<Vec<u8>>) {
    let leaf = &connection.peer_certificates().unwrap()[0];
    let (_, parsed) = X509Certificate::from_der(leaf).unwrap();
    let names = parsed.subject_alternative_name().unwrap().unwrap();
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => IpAddr::from(v4).to_string(),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(*bytes).unwrap()).to_string(),
        },
        other => other.to_string(),
    };
    let names: Vec<String> = names.value.general_names.iter().map(name).collect();
    let digest = parsed
        .extensions()
        .iter()
        .find(|extension| extension.oid.to_id_string() == ACME_IDENTIFIER);
    if let Some(digest) = digest {
        assert!(digest.critical && parsed.subject() == parsed.issuer());
    }
    (names.join(" "), digest.map(|digest| digest.value.to_vec()))
}

fn challenge(front: &Front, names: &[&str]) {
    let mut map = ChallengeMap::default();

    for name in names {
        map.answer_tls(
            &host(name),
            challenge_certificate(&host(name), "t.print").unwrap(),
        );
    }
    front.shared.challenges.swap(map);
}

#[test]
fn a_ca_that_checks_by_tls_alpn_sees_the_digest_and_is_let_go() {
    let front = Front::simple();
    let digest = ring::digest::digest(&ring::digest::SHA256, b"t.print");
    let value = [&[4, 32], digest.as_ref()].concat();
    challenge(&front, &["a.example", "192.0.2.1", "[2001:db8::1]"]);
    let v6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
    let cases = [
        ("a.example", "a.example", "a.example"),
        ("A.Example", "a.example", "a.example"),
        ("1.2.0.192.in-addr.arpa", "192.0.2.1", "192.0.2.1"),
        (v6, "[2001:db8::1]", "2001:db8::1"),
    ];

    for (name, host_name, named) in cases {
        let before = front
            .shared
            .challenges
            .hits(&host(host_name), ChallengeKind::TlsAlpn01)
            .count;
        let mut stream = shake(&front, name, &["acme-tls/1"]).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), Some(b"acme-tls/1".as_slice()));
        assert_eq!(
            shown(&stream.conn),
            (named.to_owned(), Some(value.clone())),
            "{name}"
        );
        assert_eq!(
            stream.read(&mut [0]).unwrap(),
            0,
            "nothing is spoken after the handshake"
        );
        let hits = front
            .shared
            .challenges
            .hits(&host(host_name), ChallengeKind::TlsAlpn01);
        assert_eq!(
            (hits.count, hits.from),
            (before + 1, Some([127, 0, 0, 1].into()))
        );
    }
    assert_eq!(front.requests(), 0);
}

#[test]
fn only_the_ca_gets_the_challenge_certificate_and_protocol() {
    let front = Front::simple();

    for waiting in [&["a.example"][..], &[]] {
        challenge(&front, waiting);

        for alpn in [
            &["h2"][..],
            &["http/1.1", "acme-tls/1"],
            &["acme-tls/1", "http/1.1"],
            &[],
        ] {
            let stream = shake(&front, "a.example", alpn).unwrap();
            assert_ne!(stream.conn.alpn_protocol(), Some(b"acme-tls/1".as_slice()));
            assert_eq!(shown(&stream.conn).1, None, "{alpn:?}");
        }
        let refused = shake(&front, "b.example", &["acme-tls/1"]).unwrap_err();
        assert!(
            refused.to_string().contains("NoApplicationProtocol"),
            "{refused}"
        );

        // The page is served all the while.
        let mut stream = shake(&front, "a.example", &["http/1.1"]).unwrap();
        stream.write_all(GET).unwrap();
        let mut response = [0; 12];
        stream.read_exact(&mut response).unwrap();
        assert_eq!(&response, b"HTTP/1.1 200");
    }
    assert_eq!(
        front
            .shared
            .challenges
            .hits(&host("a.example"), ChallengeKind::TlsAlpn01)
            .count,
        0
    );
}

#[test]
fn a_client_hello_in_pieces_is_put_together() {
    let front = Front::simple();
    challenge(&front, &["a.example"]);

    for (alpn, acme) in [("acme-tls/1", true), ("http/1.1", false)] {
        let mut connection = client("a.example", &[alpn]);
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).unwrap();
        let mut stream = open(&front);
        stream.set_nodelay(true).unwrap();

        for piece in hello.chunks(hello.len() / 3) {
            stream.write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).unwrap();
        }
        assert_eq!(shown(&connection).1.is_some(), acme, "{alpn}");
    }
}

#[test]
fn an_unfinished_handshake_is_closed_during_a_challenge() {
    let settings = Settings {
        handshake_timeout: Duration::from_millis(200),
        ..Settings::default()
    };

    let front = Front::new(settings, Duration::ZERO);
    challenge(&front, &["a.example"]);
    let mut hello = Vec::new();
    client("a.example", &["acme-tls/1"])
        .write_tls(&mut hello)
        .unwrap();

    for sent in [0, 20, hello.len()] {
        let mut stream = open(&front);
        stream.write_all(&hello[..sent]).unwrap();
        all(stream);
    }

    // A client that does not speak TLS gets an alert.
    let mut stream = open(&front);
    stream.write_all(GET).unwrap();
    let mut alert = [0];
    stream.read_exact(&mut alert).unwrap();
    assert_eq!(alert, [21]);
    all(stream);
    while front.shared.counters()[0].bad_connections.value() < 4 {
        thread::sleep(Duration::from_millis(5));
    }
}

fn certificate(issued: &Issued) -> Certificate {
    Certificate::from_pem(issued.chain_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap()
}

fn issued(ca: &LocalCa, names: &[&str], addresses: &[&str]) -> Certificate {
    let addresses: Vec<_> = addresses
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
    certificate(&ca.issue_server(names, &addresses).unwrap())
}

fn pattern(text: &str) -> HostPattern {
    HostPattern::parse(text).unwrap()
}

#[test]
fn a_client_without_sni_gets_the_certificate_of_the_address() {
    let settings = Settings {
        proxy_protocol_from: vec!["127.0.0.0/8".parse().unwrap()],
        ..Settings::default()
    };

    let front = Front::new(settings, Duration::ZERO);
    let ca = LocalCa::generate("public").unwrap();
    let served = |name: &str, to: &str| {
        let mut stream = open(&front);
        let family = if to.contains(':') {
            "TCP6 2001:db8::9"
        } else {
            "TCP4 198.51.100.9"
        };
        stream
            .write_all(format!("PROXY {family} {to} 4711 443\r\n").as_bytes())
            .unwrap();
        let mut connection = client(name, &["http/1.1"]);
        while connection.is_handshaking() {
            connection.complete_io(&mut stream).unwrap();
        }
        shown(&connection).0
    };

    // An address as server name is no server name: this client sends none.
    assert_eq!(served("192.0.2.1", "192.0.2.1"), "gatelet.local");
    let mut map = SniMap::default();
    map.insert(&pattern("192.0.2.1"), &issued(&ca, &[], &["192.0.2.1"]));
    map.insert(
        &pattern("[2001:db8::1]"),
        &issued(&ca, &[], &["2001:db8::1"]),
    );
    map.insert_address(
        "10.0.0.1".parse().unwrap(),
        &issued(&ca, &[], &["203.0.113.1"]),
    );
    map.insert_local(&pattern("192.0.2.3"));
    map.insert(&pattern("a.example"), &issued(&ca, &["a.example"], &[]));
    front.resolver.swap(map);
    assert_eq!(served("192.0.2.1", "192.0.2.1"), "192.0.2.1");
    assert_eq!(served("192.0.2.1", "::ffff:192.0.2.1"), "192.0.2.1");
    assert_eq!(served("2001:db8::1", "2001:db8::1"), "2001:db8::1");
    assert_eq!(served("203.0.113.1", "10.0.0.1"), "203.0.113.1");
    assert_eq!(served("192.0.2.3", "192.0.2.3"), "192.0.2.3");
    assert_eq!(served("192.0.2.2", "192.0.2.2"), "gatelet.local");
    assert_eq!(served("a.example", "192.0.2.1"), "a.example");
}

#[test]
fn hsts_is_sent_only_with_a_trusted_certificate() {
    let front = Front::simple();
    let ask = |host: &str| {
        let mut stream = shake(&front, host, &["http/1.1"]).unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        response
            .to_ascii_lowercase()
            .contains("\r\nstrict-transport-security: max-age=300\r\n")
    };
    assert!(
        !ask("a.example"),
        "the local CA's certificate, used without another"
    );
    let public = LocalCa::generate("public").unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["self.example".to_owned()]).unwrap();
    let own = Issued {
        chain_pem: own.cert.pem(),
        key_pem: own.signing_key.serialize_pem(),
    };
    let mut map = SniMap::default();
    map.insert(&pattern("a.example"), &issued(&public, &["a.example"], &[]));
    map.insert_local(&pattern("local.example"));
    map.insert(
        &pattern("stored.example"),
        &issued(&front.ca, &["stored.example"], &[]),
    );
    map.insert(&pattern("self.example"), &certificate(&own));
    front.resolver.swap(map.clone());

    for (host, said) in [
        ("a.example", true),
        ("local.example", false),
        ("stored.example", false),
        ("self.example", false),
        ("other.example", false),
    ] {
        assert_eq!(ask(host), said, "{host}");
    }
    map.set_default(&issued(&public, &["*.example"], &[]));
    front.resolver.swap(map);
    assert!(ask("other.example"));
    let plain = front.talk(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    assert!(
        !plain.to_ascii_lowercase().contains("strict-transport"),
        "{plain}"
    );
}
