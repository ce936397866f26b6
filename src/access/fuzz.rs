//! Entry point for `fuzz/`: bearer tokens of clients. It panics when an invariant does not hold.

use std::sync::LazyLock;

use super::{ISSUER, TokenKey};

static KEY: LazyLock<TokenKey> = LazyLock::new(|| {
    let key = TokenKey::generate().expect("the system has random numbers");
    TokenKey::from_pkcs8(&key).expect("a new key")
});

/// Reads bytes as a token, and then as the claims of a token that is signed and changed at one
/// place.
pub fn token(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(KEY.issuer_of(text).is_none(), "nobody has signed it");
    }

    let Some(([place, change], claims)) = data.split_first_chunk() else {
        return;
    };
    let token = KEY.sign_claims(claims);
    let issuer = KEY.issuer_of(&token);
    assert!(issuer.is_none_or(|issuer| issuer == ISSUER));

    let mut changed = token.into_bytes();
    let place = usize::from(*place) * changed.len() / 256;
    changed[place] ^= (change % 127) + 1;
    if let Ok(changed) = std::str::from_utf8(&changed) {
        assert!(KEY.issuer_of(changed).is_none(), "it was changed");
    }
}
