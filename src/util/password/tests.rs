use super::*;

/// Hashes of `openssl passwd` and of the C library, for the password `secret`.
const OF_SECRET: &[&str] = &[
    "$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
    "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0",
    "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
    "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSp\
     T0Y77vwPZN.Pq.H91p5hVO1",
    "$6$rounds=1500$saltsalt$34Syr0FSbWlp9hNFif0BNSVHRPxwiPh79DU920TQC0DoAPilRd9\
     UG4mVZjASSDEENmIuJl1xJneHoAcjNgCp00",
    "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
    "{PLAIN}secret",
];

/// A password longer than a block of MD5, and its hashes.
const LONG: &str = "a much longer password than sixteen bytes: 0123456789";
const OF_LONG: &[&str] = &[
    "$1$ab$OSFa.FYNJ81aa6FjDZyIT/",
    "$apr1$ab$mfzhHvYhYackeFYOCG4TX0",
    "$5$ab$4Mrai4RgtDfYNF8eCrnPBGdRg9DrtLr3F5pcZiqmi39",
    "$6$ab$FT/zLbdzMSgdyvQuCl8NZ7QXrfnc16YNOthcizavSTEg/klXmOHKFKnCrAMx0cFJe1Yt/\
     5fXtGwysiFKZjnRI/",
];

fn hash(text: &str) -> PasswordHash {
    PasswordHash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn each_form_takes_its_password_alone() {
    for (texts, password) in [(OF_SECRET, "secret"), (OF_LONG, LONG)] {
        for text in texts {
            let hash = hash(text);
            assert!(hash.verify(password.as_bytes()), "{text}");
            for wrong in ["", "Secret", "secret ", "secre", "secret\0"] {
                assert!(!hash.verify(wrong.as_bytes()), "{text}: {wrong:?}");
            }
            assert_eq!(hash.as_str(), *text);
        }
    }
    assert!(hash("$apr1$x$tMwYqBfQwi3FYAr0aJc8M/").verify(b""));
    assert!(PasswordHash::plain("a{b").verify(b"a{b"));
}

#[test]
fn what_is_no_hash_is_refused() {
    for (text, expected) in [
        ("", HashError::Unknown),
        ("secret", HashError::Unknown),
        ("rqXexS6ZhobKA", HashError::Unknown),
        ("$y$j9T$x$y", HashError::Unknown),
        ("$2y$05$short", HashError::Broken),
        ("$5$salt", HashError::Broken),
        ("$5$salt$short", HashError::Broken),
        ("$6$rounds=10$saltsalt$x", HashError::Broken),
        ("$6$rounds=x$saltsalt$x", HashError::Broken),
        ("$apr1$saltsalt$short", HashError::Broken),
        (
            "$apr1$saltsaltsalt$LrttParrLPdxvgutaSXWJ0",
            HashError::Broken,
        ),
        ("{SHA}x", HashError::Broken),
        ("{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", HashError::Broken),
        (
            "$2y$31$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
            HashError::Costly,
        ),
        ("$6$rounds=999999999$saltsalt$x", HashError::Costly),
    ] {
        assert_eq!(PasswordHash::parse(text), Err(expected), "{text}");
    }
}

#[test]
fn an_endless_password_costs_nothing() {
    let long = vec![b'a'; MAX_PASSWORD + 1];
    let plain = PasswordHash::plain(std::str::from_utf8(&long).expect("text"));
    assert!(!plain.verify(&long));
}

#[test]
fn a_hash_never_shows_in_debug_output() {
    for text in OF_SECRET {
        let shown = format!("{:?}", hash(text));
        assert!(!shown.contains(&text[text.len() - 6..]), "{shown}");
    }
}

proptest::proptest! {
    /// No text panics, and what parses can be compared with.
    #[test]
    fn any_text_is_a_hash_or_an_error(
        mark in "(\\$apr1\\$|\\$1\\$|\\$5\\$rounds=1000\\$|\\{SHA\\}|\\{SSHA\\}|\\$2y\\$04\\$|)",
        rest in "[a-zA-Z./$=\u{e4}]{0,60}",
    ) {
        if let Ok(hash) = PasswordHash::parse(&format!("{mark}{rest}")) {
            let _ = hash.verify(b"x");
        }
    }
}
