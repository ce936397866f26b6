//! Account keys, and the JSON Web Signatures that ACME requires (RFC 8555 section 6.2).

use std::fmt;

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD,
    },
};
use ring::{
    digest, hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};

/// Base64url with or without padding, because CAs hand out keys in both forms.
const EITHER: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An unusable key. The error contains none of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not PKCS#8 of a P-256 key with its public half (RFC 5915).
    #[error("the account key is not a P-256 key in PKCS#8")]
    Pkcs8,
    /// The HMAC key of an external account is not base64url (RFC 8555 section 7.3.4).
    #[error("the HMAC key of the external account is not base64url")]
    Hmac,
}

/// The key of an ACME account: ECDSA on P-256, signing as `ES256` (RFC 7518 section 3.4).
pub struct AccountKey {
    pair: EcdsaKeyPair,
    pkcs8: Box<[u8]>,
}

impl fmt::Debug for AccountKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccountKey({})", self.thumbprint())
    }
}

/// The reference to the signing key: the key itself, for requests that create or find an account,
/// or the account's URL.
#[derive(Clone, Copy, Debug)]
pub enum Signer<'a> {
    /// `jwk`.
    Key,
    /// `kid`.
    Account(&'a str),
}

impl AccountKey {
    /// Generates a new key.
    pub fn generate() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .expect("the operating system has random numbers");
        Self::from_pkcs8(pkcs8.as_ref()).expect("ring reads its own keys")
    }

    /// Parses a stored key.
    ///
    /// # Errors
    /// [`KeyError::Pkcs8`].
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random);
        Ok(Self {
            pair: pair.map_err(|_rejected| KeyError::Pkcs8)?,
            pkcs8: pkcs8.into(),
        })
    }

    /// Returns the private key, for the store only.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// Returns the public key (RFC 7517), with its members in alphabetical order.
    pub fn jwk(&self) -> Value {
        // The first byte marks the uncompressed form (SEC 1 section 2.3.3).
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({"crv": "P-256", "kty": "EC", "x": x, "y": y})
    }

    /// Returns the thumbprint of the key, which responses to challenges contain (RFC 7638, RFC 8555
    /// section 8.1).
    pub fn thumbprint(&self) -> String {
        thumbprint(&self.jwk().to_string())
    }

    /// Returns the body of a request to `url`: a flattened JWS. `payload` is JSON, or empty for
    /// POST-as-GET (RFC 8555 section 6.3).
    pub fn request(&self, signer: Signer<'_>, nonce: &str, url: &str, payload: &str) -> String {
        let mut protected = self.protected(signer, url);
        protected["nonce"] = nonce.into();
        self.sign(&protected, payload).to_string()
    }

    /// Returns the payload that changes the account's key from `old` to this one. It is sent to
    /// `url`, signed by `old` (RFC 8555 section 7.3.5).
    pub fn takes_over(&self, old: &Self, account: &str, url: &str) -> String {
        let payload = json!({"account": account, "oldKey": old.jwk()});
        let protected = self.protected(Signer::Key, url);
        self.sign(&protected, &payload.to_string()).to_string()
    }

    fn protected(&self, signer: Signer<'_>, url: &str) -> Value {
        match signer {
            Signer::Key => json!({"alg": "ES256", "jwk": self.jwk(), "url": url}),
            Signer::Account(kid) => json!({"alg": "ES256", "kid": kid, "url": url}),
        }
    }

    fn sign(&self, protected: &Value, payload: &str) -> Value {
        flattened(protected, payload, |input| {
            self.pair
                .sign(&SystemRandom::new(), input)
                .expect("the operating system has random numbers")
        })
    }
}

/// The credentials of an external account, which the CA's operator hands out.
#[derive(Clone)]
pub struct ExternalAccount {
    kid: String,
    key: hmac::Key,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExternalAccount({})", self.kid)
    }
}

impl ExternalAccount {
    /// Parses the credentials. `key` is base64url.
    ///
    /// # Errors
    /// [`KeyError::Hmac`].
    pub fn new(kid: &str, key: &str) -> Result<Self, KeyError> {
        let bytes = EITHER
            .decode(key.trim())
            .ok()
            .filter(|bytes| !bytes.is_empty())
            .ok_or(KeyError::Hmac)?;
        Ok(Self {
            kid: kid.to_owned(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &bytes),
        })
    }

    /// Returns the ID of the key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Returns a value that differs between keys and reveals nothing about them.
    pub(crate) fn fingerprint(&self) -> [u8; 8] {
        let tag = hmac::sign(&self.key, b"print");
        tag.as_ref()[..8].try_into().expect("a tag has 32 bytes")
    }

    /// Returns the `externalAccountBinding` for a new account with this key at `url` (RFC 8555
    /// section 7.3.4).
    pub fn binding(&self, account: &AccountKey, url: &str) -> Value {
        let protected = json!({"alg": "HS256", "kid": self.kid, "url": url});
        flattened(&protected, &account.jwk().to_string(), |input| {
            hmac::sign(&self.key, input)
        })
    }
}

/// Returns a flattened JWS (RFC 7515 section 7.2.2).
fn flattened<S: AsRef<[u8]>>(
    protected: &Value,
    payload: &str,
    sign: impl FnOnce(&[u8]) -> S,
) -> Value {
    let protected = URL_SAFE_NO_PAD.encode(protected.to_string());
    let payload = URL_SAFE_NO_PAD.encode(payload);
    let signature = URL_SAFE_NO_PAD.encode(sign(format!("{protected}.{payload}").as_bytes()));
    json!({"protected": protected, "payload": payload, "signature": signature})
}

/// Hashes a JWK whose members are in alphabetical order, without white space.
fn thumbprint(canonical: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

#[cfg(test)]
mod tests;
