//! Signed requests: RFC 8555 section 6 checked to the letter, so that a client's signing errors do
//! not pass.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{digest, hmac, signature};
use serde_json::{Value, json};

use super::{
    faults::{Action, Endpoint},
    problem::Problem,
    server::Call,
    state::State,
};

/// A P-256 public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    x: String,
    y: String,
}

/// A request whose signature holds.
pub(super) struct Signed {
    /// The account that signed, if it named itself.
    account: Option<u64>,
    pub(super) key: Key,
    pub(super) payload: Vec<u8>,
}

struct Flat {
    header: Value,
    input: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Key {
    fn from_jwk(jwk: &Value) -> Result<Self, Problem> {
        let text = |name: &str| jwk[name].as_str().unwrap_or_default().to_owned();
        let key = Self {
            x: text("x"),
            y: text("y"),
        };
        if text("kty") != "EC" || text("crv") != "P-256" || key.point().is_none() {
            return Err(Problem::new("badPublicKey", "not a P-256 key"));
        }
        Ok(key)
    }

    /// The uncompressed point, as in certificates.
    pub(super) fn point(&self) -> Option<Vec<u8>> {
        let (x, y) = (
            URL_SAFE_NO_PAD.decode(&self.x).ok()?,
            URL_SAFE_NO_PAD.decode(&self.y).ok()?,
        );
        (x.len() == 32 && y.len() == 32).then(|| [vec![4], x, y].concat())
    }

    /// RFC 7638.
    pub(super) fn thumbprint(&self) -> String {
        let canonical = format!(
            r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
            self.x, self.y
        );
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }

    fn verify(&self, flat: &Flat) -> Result<(), Problem> {
        let point = self.point().expect("checked when the key was read");
        signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
            .verify(flat.input.as_bytes(), &flat.signature)
            .map_err(|_wrong| Problem::malformed("the signature does not hold"))
    }
}

impl Signed {
    /// The account that signed.
    pub(super) fn account(&self) -> Result<u64, Problem> {
        self.account
            .ok_or_else(|| Problem::malformed("kid is missing"))
    }

    /// The payload as JSON.
    pub(super) fn json(&self) -> Result<Value, Problem> {
        serde_json::from_slice(&self.payload)
            .map_err(|error| Problem::malformed(format!("payload: {error}")))
    }
}

/// Checks a request, and uses up its nonce.
pub(super) fn verify(state: &mut State, call: &Call) -> Result<Signed, Problem> {
    if call.content_type != "application/jose+json" {
        return Err(Problem::malformed("Content-Type is not application/jose+json").status(415));
    }
    let flat = parse(&call.body)?;
    if flat.header["alg"] != "ES256" {
        return Err(Problem::new("badSignatureAlgorithm", "only ES256"));
    }
    if flat.header["url"] != *call.url {
        return Err(Problem::new(
            "unauthorized",
            "url in the header is not the one asked for",
        ));
    }
    let known = flat.header["nonce"]
        .as_str()
        .is_some_and(|nonce| state.nonces.remove(nonce));
    if !known || call.has(&Action::BadNonce) {
        return Err(Problem::new("badNonce", "this nonce is not valid"));
    }
    let account =
        match (&flat.header["jwk"], &flat.header["kid"]) {
            (Value::Null, Value::String(kid)) if call.endpoint != Endpoint::NewAccount => {
                let id = kid
                    .strip_prefix(&format!("{}/acct/", state.base))
                    .and_then(|id| id.parse().ok());
                let known = id.filter(|id| state.accounts.contains_key(id));
                Some(known.ok_or_else(|| {
                    Problem::new("accountDoesNotExist", format!("no account {kid}"))
                })?)
            }
            (Value::Object(_), Value::Null)
                if matches!(call.endpoint, Endpoint::NewAccount | Endpoint::RevokeCert) =>
            {
                None
            }
            _ => {
                return Err(Problem::malformed(
                    "exactly one of jwk and kid, and the right one",
                ));
            }
        };
    let key = match account {
        Some(id) => state.accounts[&id].key.clone(),
        None => Key::from_jwk(&flat.header["jwk"])?,
    };
    key.verify(&flat)?;
    Ok(Signed {
        account,
        key,
        payload: flat.payload,
    })
}

/// The inner request of a key change (RFC 8555 section 7.3.5): the new key, if it asks for this
/// account and old key.
pub(super) fn new_key(inner: &[u8], url: &str, account: &str, old: &Key) -> Result<Key, Problem> {
    let flat = parse(inner)?;
    let key = Key::from_jwk(&flat.header["jwk"])?;
    key.verify(&flat)?;
    let asked: Value = serde_json::from_slice(&flat.payload)
        .map_err(|error| Problem::malformed(error.to_string()))?;
    let same =
        flat.header["url"] == url && flat.header["nonce"].is_null() && asked["account"] == account;
    if flat.header["alg"] != "ES256" || !same || Key::from_jwk(&asked["oldKey"])? != *old {
        return Err(Problem::malformed(
            "the inner request does not fit the outer one",
        ));
    }
    Ok(key)
}

/// An external account binding (RFC 8555 section 7.3.4) for this key, made with one of `known`.
pub(super) fn bound(
    eab: &Value,
    url: &str,
    key: &Key,
    known: &[(String, Vec<u8>)],
) -> Result<String, Problem> {
    let refused =
        |why: &str| Problem::new("unauthorized", format!("external account binding: {why}"));
    let flat = parse(eab.to_string().as_bytes())?;
    let kid = flat.header["kid"].as_str().unwrap_or_default();
    let (_, secret) = known
        .iter()
        .find(|(name, _)| name == kid)
        .ok_or_else(|| refused("unknown kid"))?;
    let inner: Value =
        serde_json::from_slice(&flat.payload).map_err(|_bad| refused("payload is not JSON"))?;
    if flat.header["alg"] != "HS256" || flat.header["url"] != url || Key::from_jwk(&inner)? != *key
    {
        return Err(refused("not HS256, or for another URL or key"));
    }
    hmac::verify(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        flat.input.as_bytes(),
        &flat.signature,
    )
    .map(|()| kid.to_owned())
    .map_err(|_wrong| refused("wrong MAC"))
}

fn parse(body: &[u8]) -> Result<Flat, Problem> {
    let bad = |what: &str| Problem::malformed(format!("signed request: {what}"));
    let whole: Value = serde_json::from_slice(body).map_err(|_bad| bad("not JSON"))?;
    let text = |name: &str| whole[name].as_str().ok_or_else(|| bad(name));
    let bytes = |name: &str| {
        text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).map_err(|_bad| bad(name)))
    };
    Ok(Flat {
        header: serde_json::from_slice(&bytes("protected")?)
            .map_err(|_bad| bad("header is not JSON"))?,
        input: format!("{}.{}", text("protected")?, text("payload")?),
        payload: bytes("payload")?,
        signature: bytes("signature")?,
    })
}

impl From<&Key> for Value {
    fn from(key: &Key) -> Self {
        json!({"kty": "EC", "crv": "P-256", "x": key.x, "y": key.y})
    }
}
