//! Tokens of ServiceAccounts: JSON Web Tokens (RFC 7519) signed with ES256 by a key of the mini
//! cluster. A token counts while its account exists, and the object that it is bound to.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::{
    digest,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        UnparsedPublicKey,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::user::User;
use crate::{
    objects::{Key, Kind, RawObject, View},
    util::{stamp, time::UnixSeconds},
};

/// The issuer of the tokens, and their audience if a request names no other.
pub const ISSUER: &str = "https://kubernetes.default.svc";

/// The longest token that is read.
const MAX_TOKEN: usize = 16 << 10;

/// The fact about a user that names the token.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// The beginning of a public key of P-256 in DER (RFC 5480); the point follows.
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that cannot be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key for tokens cannot be used")]
pub struct TokenKeyError;

/// The reason why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is not a token of this cluster.
    #[error("it is not a token of this cluster")]
    Foreign,
    /// Its time is over, or has not begun.
    #[error("it has expired, or is not valid yet")]
    Time,
    /// It is for other audiences.
    #[error("it is for another audience")]
    Audience,
    /// Its account, or the object that it is bound to, is gone.
    #[error("its ServiceAccount, or the object that it is bound to, does not exist any more")]
    Revoked,
}

/// The key that signs tokens.
pub struct TokenKey {
    pair: EcdsaKeyPair,
    /// The name of the key in the tokens: a hash of its public part, as in Kubernetes.
    id: String,
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The object that a token is bound to beside its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundObject {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// The contents of a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    cluster: ClusterClaims,
    nbf: i64,
    sub: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ClusterClaims {
    namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<BoundObject>,
    serviceaccount: BoundObject,
}

/// A token to sign.
#[derive(Clone, Debug)]
pub struct TokenRequest<'r> {
    /// The ServiceAccount.
    pub account: &'r RawObject,
    /// The audiences.
    pub audiences: Vec<String>,
    /// The time for which it is valid.
    pub life: Duration,
    /// The Secret that it is bound to.
    pub secret: Option<BoundObject>,
}

impl TokenKey {
    /// Generates a key, and returns it as PKCS#8, to be stored.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn generate() -> Result<Vec<u8>, TokenKeyError> {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        document
            .map(|document| document.as_ref().to_vec())
            .map_err(|_unspecified| TokenKeyError)
    }

    /// Reads a key back.
    ///
    /// # Errors
    ///
    /// It is not a key of P-256.
    pub fn from_pkcs8(key: &[u8]) -> Result<Self, TokenKeyError> {
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &SystemRandom::new())
                .map_err(|_rejected| TokenKeyError)?;
        let public = [&SPKI, pair.public_key().as_ref()].concat();
        let id = BASE64.encode(digest::digest(&digest::SHA256, &public));
        Ok(Self { pair, id })
    }

    /// Signs a token, and returns it with the time of its end.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn sign(&self, request: TokenRequest<'_>) -> Result<(String, UnixSeconds), TokenKeyError> {
        let meta = &request.account.meta;
        let now = UnixSeconds::now();
        let end = now + request.life;
        let claims = Claims {
            aud: request.audiences,
            exp: end.0,
            iat: now.0,
            iss: ISSUER.to_owned(),
            jti: stamp::uid(),
            cluster: ClusterClaims {
                namespace: meta.namespace.to_string(),
                secret: request.secret,
                serviceaccount: BoundObject {
                    name: meta.name.to_string(),
                    uid: meta.uid.to_string(),
                },
            },
            nbf: now.0,
            sub: User::account_name(&meta.namespace, &meta.name),
        };

        let claims = serde_json::to_vec(&claims).map_err(|_never| TokenKeyError)?;
        Ok((self.encode(&claims)?, end))
    }

    /// Returns a token with these claims.
    fn encode(&self, claims: &[u8]) -> Result<String, TokenKeyError> {
        let header = json!({ "alg": "ES256", "kid": self.id });
        let signed = format!(
            "{}.{}",
            BASE64.encode(header.to_string()),
            BASE64.encode(claims)
        );

        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .map_err(|_unspecified| TokenKeyError)?;
        Ok(format!("{signed}.{}", BASE64.encode(signature)))
    }

    /// Signs any bytes as claims.
    #[cfg(fuzzing)]
    pub(super) fn sign_claims(&self, claims: &[u8]) -> String {
        self.encode(claims).expect("the system has random numbers")
    }

    /// Returns the issuer in a token that this key has signed.
    #[cfg(fuzzing)]
    pub(super) fn issuer_of(&self, token: &str) -> Option<String> {
        self.claims(token).map(|claims| claims.iss)
    }

    /// Returns the user of a token, and those of the audiences that it is for.
    ///
    /// # Errors
    ///
    /// The token does not count.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[&str],
        view: &dyn View,
        now: UnixSeconds,
    ) -> Result<(User, Vec<String>), TokenError> {
        let claims = self.claims(token).ok_or(TokenError::Foreign)?;
        if claims.exp <= now.0 || claims.nbf > now.0 {
            return Err(TokenError::Time);
        }

        let for_these = |audience: &String| audiences.contains(&audience.as_str());
        let audiences: Vec<String> = claims
            .aud
            .iter()
            .filter(|a| for_these(a))
            .cloned()
            .collect();
        if audiences.is_empty() {
            return Err(TokenError::Audience);
        }

        let ClusterClaims {
            namespace,
            secret,
            serviceaccount: account,
        } = &claims.cluster;
        let bound = [
            (Kind::ServiceAccount, Some(account)),
            (Kind::Secret, secret.as_ref()),
        ];

        let exist = bound.into_iter().all(|(kind, object)| {
            object.is_none_or(|object| exists(view, kind, namespace, object))
        });
        if !exist || claims.sub != User::account_name(namespace, &account.name) {
            return Err(TokenError::Revoked);
        }

        let mut user = User::account(namespace, &account.name);
        user.uid.clone_from(&account.uid);
        let credential = vec![format!("JTI={}", claims.jti)];
        user.extra.insert(CREDENTIAL.to_owned(), credential);
        Ok((user, audiences))
    }

    /// Returns the claims of a token that this key has signed.
    fn claims(&self, token: &str) -> Option<Claims> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            kid: String,
        }

        if token.len() > MAX_TOKEN {
            return None;
        }

        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
        if header.alg != "ES256" || header.kid != self.id {
            return None;
        }

        let signature = BASE64.decode(signature).ok()?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .ok()?;

        let claims: Claims = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        (claims.iss == ISSUER).then_some(claims)
    }

    /// Returns the public keys as a JSON Web Key Set (RFC 7517).
    pub fn key_set(&self) -> Value {
        // The first byte says that the point is not compressed.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        json!({ "keys": [{
            "use": "sig",
            "kty": "EC",
            "kid": self.id,
            "crv": "P-256",
            "alg": "ES256",
            "x": BASE64.encode(x),
            "y": BASE64.encode(y),
        }] })
    }
}

/// Returns true if the very object exists, and is not being deleted.
fn exists(view: &dyn View, kind: Kind, namespace: &str, object: &BoundObject) -> bool {
    let key = Key {
        kind,
        namespace: namespace.into(),
        name: object.name.as_str().into(),
    };
    let found: Option<Arc<RawObject>> = view.get(&key);
    found.is_some_and(|found| {
        *found.meta.uid == *object.uid && found.meta.deletion_timestamp.is_empty()
    })
}
