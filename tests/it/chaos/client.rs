//! A minimal ACME client: one request after the other, no retries, every response kept.

use std::{
    io,
    sync::{Arc, Mutex},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, KeyPair};
use ring::{
    digest, hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::{Value, json};

use crate::support::{
    Connection,
    chaos::{ChaosCa, Options},
    eventually,
    http::Answer,
};

pub struct Client {
    pub directory: Value,
    pub key: Key,
    pub kid: Option<String>,
    pub nonce: String,
    /// Uses one connection for all requests.
    pub keeps: bool,
    connection: Mutex<Option<Connection>>,
    port: u16,
    roots: RootCertStore,
}

/// An account key.
pub struct Key(EcdsaKeyPair);

impl Key {
    pub fn new() -> Self {
        let random = SystemRandom::new();
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        Self(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random)
                .expect("a key"),
        )
    }

    pub fn jwk(&self) -> Value {
        let point = self.0.public_key().as_ref();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&point[1..33]),
            URL_SAFE_NO_PAD.encode(&point[33..]),
        );
        json!({"crv": "P-256", "kty": "EC", "x": x, "y": y})
    }

    pub fn authorize(&self, token: &str) -> String {
        let thumbprint = digest::digest(&digest::SHA256, self.jwk().to_string().as_bytes());
        format!("{token}.{}", URL_SAFE_NO_PAD.encode(thumbprint))
    }

    pub fn sign(&self, header: &Value, payload: &str) -> Value {
        let (protected, payload) = (encode(&header.to_string()), encode(payload));
        let input = format!("{protected}.{payload}");
        let signature = self
            .0
            .sign(&SystemRandom::new(), input.as_bytes())
            .expect("a signature");
        json!({"protected": protected, "payload": payload,
            "signature": URL_SAFE_NO_PAD.encode(signature)})
    }
}

/// A running CA with a client that has an account there.
pub fn start(options: Options) -> (ChaosCa, Client) {
    let ca = ChaosCa::start(options);
    let client = Client::registered(&ca);
    (ca, client)
}

impl Client {
    /// Creates a client with the directory and a nonce, but without an account.
    pub fn new(ca: &ChaosCa) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca.root_pem().as_bytes()).expect("PEM"))
            .expect("a root");
        let url = ca.directory();
        let port = url
            .split([':', '/'])
            .find_map(|part| part.parse().ok())
            .expect("a port");
        let (directory, nonce) = (Value::Null, String::new());
        let mut client = Self {
            directory,
            key: Key::new(),
            kid: None,
            nonce,
            keeps: false,
            connection: Mutex::default(),
            port,
            roots,
        };
        client.directory = body(&client.get(&url).expect("the directory"));
        client.renew_nonce();
        client
    }

    pub fn registered(ca: &ChaosCa) -> Self {
        let mut client = Self::new(ca);
        let answer = client
            .register(json!({"termsOfServiceAgreed": true}))
            .expect("an account");
        assert_eq!(answer.status, 201, "{}", answer.text());
        client
    }

    pub fn register(&mut self, asked: Value) -> io::Result<Answer> {
        let answer = self.post_new("newAccount", asked)?;
        self.kid = answer.field("location").map(str::to_owned);
        Ok(answer)
    }

    pub fn renew_nonce(&mut self) {
        let answer = self.get(&self.url("newNonce")).expect("a nonce");
        self.nonce = answer.field("replay-nonce").expect("a nonce").to_owned();
    }

    pub fn url(&self, name: &str) -> String {
        self.directory[name]
            .as_str()
            .expect("in the directory")
            .to_owned()
    }

    pub fn get(&self, url: &str) -> io::Result<Answer> {
        self.send(url, "GET", "", "")
    }

    /// Sends a signed request.
    pub fn post(&mut self, url: &str, payload: &str) -> io::Result<Answer> {
        let header = self.header(url);
        let signed = self.key.sign(&header, payload);
        self.post_raw(url, &signed)
    }

    pub fn post_new(&mut self, name: &str, payload: Value) -> io::Result<Answer> {
        self.post(&self.url(name), &payload.to_string())
    }

    pub fn header(&self, url: &str) -> Value {
        match &self.kid {
            Some(kid) => json!({"alg": "ES256", "kid": kid, "nonce": self.nonce, "url": url}),
            None => json!({"alg": "ES256", "jwk": self.key.jwk(), "nonce": self.nonce, "url": url}),
        }
    }

    pub fn post_raw(&mut self, url: &str, signed: &Value) -> io::Result<Answer> {
        let answer = self.send(
            url,
            "POST",
            "Content-Type: application/jose+json\r\n",
            &signed.to_string(),
        )?;
        if let Some(nonce) = answer.field("replay-nonce") {
            self.nonce = nonce.to_owned();
        }
        Ok(answer)
    }

    pub fn send(&self, url: &str, method: &str, fields: &str, content: &str) -> io::Result<Answer> {
        let kept = self.connection.lock().unwrap().take();
        let mut connection = kept.map_or_else(|| self.connect(&[]), Ok)?;
        let path = url.splitn(4, '/').nth(3).expect("a path");
        let length = content.len();
        let agent = if fields.contains("User-Agent") {
            ""
        } else {
            "User-Agent: test\r\n"
        };
        connection.send(
            format!(
                "{method} /{path} HTTP/1.1\r\nHost: ca\r\n{agent}{fields}Content-Length: \
                    {length}\r\n\r\n{content}"
            )
            .as_bytes(),
        )?;
        let answer = connection.answer()?;
        *self.connection.lock().unwrap() = Some(connection).filter(|_| self.keeps);
        Ok(answer)
    }

    /// Opens a connection that trusts only the CA's root.
    pub fn connect(&self, protocols: &[&str]) -> io::Result<Connection> {
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("ring knows them")
                .with_root_certificates(self.roots.clone())
                .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        Connection::tls_with(([127, 0, 0, 1], self.port).into(), "127.0.0.1", config)
    }

    /// Creates an order for names, with further members.
    pub fn order(&mut self, names: &[&str], more: Value) -> io::Result<Answer> {
        let identifiers: Vec<_> = names.iter().map(|name| identifier(name)).collect();
        let mut asked = json!({"identifiers": identifiers});
        asked
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        self.post_new("newOrder", asked)
    }

    /// Triggers the challenge of one kind in every authorization of an order.
    pub fn respond(&mut self, order: &Value, kind: &str) -> io::Result<()> {
        for url in strings(&order["authorizations"]) {
            let authz = body(&self.post(&url, "")?);
            let challenge = challenge(&authz, kind);
            self.post(challenge["url"].as_str().expect("a URL"), "{}")?;
        }
        Ok(())
    }

    /// Returns the order once it is no longer pending or processing.
    pub fn settled(&mut self, order: &str) -> Value {
        eventually("the order is done", || {
            let order = body(&self.post(order, "").expect("the order"));
            (order["status"] != "pending" && order["status"] != "processing").then_some(order)
        })
    }

    pub fn finalize(&mut self, order: &Value, names: &[&str]) -> io::Result<Answer> {
        let url = order["finalize"].as_str().expect("a URL").to_owned();
        self.post(&url, &json!({"csr": csr(names)}).to_string())
    }

    /// Goes from the order to the chain. Returns the first response that is an error, if there is
    /// one.
    pub fn issue(&mut self, names: &[&str], more: Value) -> io::Result<Result<String, Answer>> {
        let answer = self.order(names, more)?;
        if answer.status != 201 {
            return Ok(Err(answer));
        }
        let url = answer.field("location").expect("a location").to_owned();
        if body(&answer)["status"] == "pending" {
            let kind = if names[0].starts_with('*') {
                "dns-01"
            } else {
                "http-01"
            };
            self.respond(&body(&answer), kind)?;
        }
        let order = self.settled(&url);
        let answer = self.finalize(&order, names)?;
        if answer.status != 200 {
            return Ok(Err(answer));
        }
        let order = self.settled(&url);
        let Some(certificate) = order["certificate"].as_str() else {
            return Ok(Err(answer));
        };
        let answer = self.post(certificate, "")?;
        Ok(if answer.status == 200 {
            Ok(answer.text())
        } else {
            Err(answer)
        })
    }
}

pub fn csr(names: &[&str]) -> String {
    csr_for(names, &KeyPair::generate().expect("a key"))
}

pub fn csr_for(names: &[&str], key: &KeyPair) -> String {
    let mut params = CertificateParams::new(
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    )
    .expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    let request = params.serialize_request(key).expect("a request");
    URL_SAFE_NO_PAD.encode(request.der())
}

pub fn challenge(authz: &Value, kind: &str) -> Value {
    let list = authz["challenges"].as_array().expect("challenges");
    list.iter()
        .find(|challenge| challenge["type"] == kind)
        .unwrap_or_else(|| panic!("no {kind}: {authz}"))
        .clone()
}

/// An external account binding.
pub fn binding(url: &str, key: &Key, kid: &str, secret: &[u8]) -> Value {
    let protected = encode(&json!({"alg": "HS256", "kid": kid, "url": url}).to_string());
    let payload = encode(&key.jwk().to_string());
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        format!("{protected}.{payload}").as_bytes(),
    );
    json!({"protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(tag)})
}

pub fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|error| panic!("{error}: {}{}", answer.head, answer.text()))
}

/// Returns the status and the problem's type.
pub fn refusal(answer: &Answer) -> (u16, String) {
    let kind = body(answer)["type"].as_str().unwrap_or_default().to_owned();
    (
        answer.status,
        kind.trim_start_matches("urn:ietf:params:acme:error:")
            .to_owned(),
    )
}

pub fn strings(list: &Value) -> Vec<String> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|item| item.as_str().expect("text").to_owned())
        .collect()
}

fn identifier(name: &str) -> Value {
    let kind = if name.parse::<std::net::IpAddr>().is_ok() {
        "ip"
    } else {
        "dns"
    };
    json!({"type": kind, "value": name})
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}
