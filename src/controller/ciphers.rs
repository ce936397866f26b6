//! Reads lists of cipher suites as OpenSSL does, for the suites of TLS 1.2 that gatelet has.

/// A suite of TLS 1.2.
struct Suite {
    /// Its name in OpenSSL.
    name: &'static str,
    /// Its number at IANA.
    number: u16,
    /// The words of OpenSSL that stand for it, besides those for all of them.
    words: &'static [&'static str],
}

/// The suites, in the order of OpenSSL.
const SUITES: &[Suite] = &[
    suite(
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        0xc02c,
        &["ECDSA", "aECDSA", "AES", "AES256", "AESGCM", "FIPS"],
    ),
    suite(
        "ECDHE-RSA-AES256-GCM-SHA384",
        0xc030,
        &["aRSA", "AES", "AES256", "AESGCM", "FIPS"],
    ),
    suite(
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        0xcca9,
        &["ECDSA", "aECDSA", "CHACHA20"],
    ),
    suite("ECDHE-RSA-CHACHA20-POLY1305", 0xcca8, &["aRSA", "CHACHA20"]),
    suite(
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        0xc02b,
        &["ECDSA", "aECDSA", "AES", "AES128", "AESGCM", "FIPS"],
    ),
    suite(
        "ECDHE-RSA-AES128-GCM-SHA256",
        0xc02f,
        &["aRSA", "AES", "AES128", "AESGCM", "FIPS"],
    ),
];

/// The words that stand for all of them.
const ALL: &[&str] = &[
    "ALL", "DEFAULT", "HIGH", "TLSv1.2", "ECDH", "ECDHE", "EECDH", "kECDHE", "kEECDH",
];

/// The words that stand for none of them.
const NONE: &[&str] = &[
    "3DES",
    "ADH",
    "AECDH",
    "AESCCM",
    "AESCCM8",
    "ARIA",
    "ARIA128",
    "ARIA256",
    "ARIAGCM",
    "CAMELLIA",
    "CAMELLIA128",
    "CAMELLIA256",
    "CBC",
    "COMPLEMENTOFALL",
    "COMPLEMENTOFDEFAULT",
    "DES",
    "DH",
    "DHE",
    "DSS",
    "EDH",
    "EXP",
    "EXPORT",
    "GOST",
    "IDEA",
    "LOW",
    "MD5",
    "MEDIUM",
    "NULL",
    "PSK",
    "RC2",
    "RC4",
    "RSA",
    "SEED",
    "SHA",
    "SHA1",
    "SHA256",
    "SHA384",
    "SRP",
    "SSLv3",
    "TLSv1",
    "TLSv1.0",
    "TLSv1.3",
    "aDH",
    "aDSS",
    "aGOST",
    "aNULL",
    "aPSK",
    "aSRP",
    "eNULL",
    "kDHE",
    "kDHEPSK",
    "kECDHEPSK",
    "kEDH",
    "kGOST",
    "kPSK",
    "kRSA",
    "kRSAPSK",
    "kSRP",
];

/// The suites of TLS 1.3, as IANA names them.
const TLS13: &[&str] = &[
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];

/// The most bytes of a list.
const MAX_LENGTH: usize = 4096;
/// The most unknown names that are remembered.
const MAX_UNKNOWN: usize = 8;

const fn suite(name: &'static str, number: u16, words: &'static [&'static str]) -> Suite {
    Suite {
        name,
        number,
        words,
    }
}

/// The suites of a list.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ciphers {
    /// The numbers of the suites of TLS 1.2, the preferred one first; `None` for all.
    pub(super) suites: Option<Box<[u16]>>,
    /// Some of the names in the list that gatelet does not have.
    pub(super) unknown: Vec<Box<str>>,
}

impl Ciphers {
    /// Returns the suites of TLS 1.2 that are not in the list, by their names.
    pub(super) fn others(&self) -> Vec<&'static str> {
        let Some(chosen) = &self.suites else {
            return Vec::new();
        };
        let others = SUITES
            .iter()
            .filter(|suite| !chosen.contains(&suite.number));
        others.map(|suite| suite.name).collect()
    }
}

/// Reads a list; `None` if it has characters that no name has.
pub(super) fn parse(list: &str) -> Option<Ciphers> {
    let is_known = |c: char| c.is_ascii_alphanumeric() || ":,; +_-!@=.".contains(c);
    if list.is_empty() || list.len() > MAX_LENGTH || !list.chars().all(is_known) {
        return None;
    }

    let (mut chosen, mut killed): (Vec<&Suite>, Vec<u16>) = (Vec::new(), Vec::new());
    let mut unknown: Vec<Box<str>> = Vec::new();
    for element in list
        .split([':', ',', ';', ' '])
        .filter(|one| !one.is_empty())
    {
        let (sign, words) = match element.strip_prefix(['!', '-', '+', '@']) {
            Some(words) => (&element[..1], words),
            None => ("", element),
        };
        // `@STRENGTH` and `@SECLEVEL`: all suites are strong.
        if sign == "@" {
            continue;
        }
        let words = words.split('@').next().unwrap_or_default();
        let meant: Vec<&Suite> = match meant(words) {
            Some(meant) => meant,
            // A suite that gatelet does not have is left out already.
            None if sign == "!" || sign == "-" => continue,
            None => {
                if unknown.len() < MAX_UNKNOWN {
                    unknown.push(words.into());
                }
                continue;
            }
        };

        let is_meant = |one: &Suite| meant.iter().any(|other| other.number == one.number);
        match sign {
            "" => {
                let is_chosen = |one: &Suite| chosen.iter().any(|had| had.number == one.number);
                let is_new = |one: &&Suite| !is_chosen(one) && !killed.contains(&one.number);
                let new: Vec<&Suite> = meant.iter().copied().filter(is_new).collect();
                chosen.extend(new);
            }
            "+" => chosen.sort_by_key(|one| is_meant(one)),
            _ => {
                chosen.retain(|one| !is_meant(one));
                if sign == "!" {
                    killed.extend(meant.iter().map(|one| one.number));
                }
            }
        }
    }

    let is_all = chosen.len() == SUITES.len();
    let numbers = chosen.iter().map(|one| one.number);
    Some(Ciphers {
        suites: (!is_all).then(|| numbers.collect()),
        unknown,
    })
}

/// Returns the numbers of the suites of TLS 1.2 with these names, as IANA and Go have them, and the
/// names that gatelet does not have.
pub(super) fn of_iana<'n>(names: &[&'n str]) -> (Box<[u16]>, Vec<&'n str>) {
    let (mut numbers, mut unknown) = (Vec::new(), Vec::new());
    for name in names {
        let own = name.strip_prefix("TLS_").unwrap_or_default();
        let own = own.replace("_WITH_", "-").replace("AES_", "AES");
        let own = own.replace("POLY1305_SHA256", "POLY1305").replace('_', "-");
        match SUITES.iter().find(|suite| *suite.name == *own) {
            Some(suite) if numbers.contains(&suite.number) => {}
            Some(suite) => numbers.push(suite.number),
            // Those of TLS 1.3 cannot be chosen.
            None if TLS13.contains(name) => {}
            None => unknown.push(*name),
        }
    }
    (numbers.into(), unknown)
}

/// Returns the suites that words joined by `+` stand for; `None` if one of them is not known.
fn meant(words: &str) -> Option<Vec<&'static Suite>> {
    if words == "SUITEB128" || words == "SUITEB192" {
        let numbers: &[u16] = match words {
            "SUITEB128" => &[0xc02b, 0xc02c],
            _ => &[0xc02c],
        };
        let of = |number: &u16| SUITES.iter().find(|suite| suite.number == *number);
        return Some(numbers.iter().filter_map(of).collect());
    }

    let mut meant: Vec<&Suite> = SUITES.iter().collect();
    for word in words.split('+') {
        match word {
            _ if ALL.contains(&word) => {}
            _ if NONE.contains(&word) => meant.clear(),
            _ if SUITES.iter().any(|suite| is_meant_by(suite, word)) => {
                meant.retain(|suite| is_meant_by(suite, word));
            }
            _ => return None,
        }
    }
    Some(meant)
}

fn is_meant_by(suite: &Suite, word: &str) -> bool {
    suite.name == word || suite.words.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const E256: u16 = 0xc02c;
    const R256: u16 = 0xc030;
    const EC: u16 = 0xcca9;
    const RC: u16 = 0xcca8;
    const E128: u16 = 0xc02b;
    const R128: u16 = 0xc02f;

    #[test]
    fn a_list_has_the_suites_that_openssl_has() {
        // As `openssl ciphers -s -tls1_2 LIST` prints them.
        let all: &[u16] = &[];
        for (list, expected) in [
            ("DEFAULT", all),
            ("HIGH:!aNULL:!MD5", all),
            ("ECDH", all),
            ("DEFAULT@SECLEVEL=0", all),
            ("EECDH+AESGCM:EDH+AESGCM", &[E256, R256, E128, R128]),
            ("aRSA", &[R256, RC, R128]),
            ("ECDSA", &[E256, EC, E128]),
            ("SUITEB128", &[E128, E256]),
            ("CHACHA20", &[EC, RC]),
            ("FIPS", &[E256, R256, E128, R128]),
            ("AES128", &[E128, R128]),
            ("AES128:-aRSA:CHACHA20", &[E128, EC, RC]),
            ("AES128:CHACHA20:+ECDSA:!RC4", &[R128, RC, E128, EC]),
            ("AES128:!ECDSA:ECDSA", &[R128]),
            ("AES128:-ECDSA:ECDSA+AES128", &[R128, E128]),
            (
                "ECDHE-RSA-AES128-GCM-SHA256,ECDHE-ECDSA-AES128-GCM-SHA256",
                &[R128, E128],
            ),
        ] {
            let read = parse(list).expect(list);
            let expected = (!expected.is_empty()).then(|| expected.into());
            assert_eq!((read.suites, read.unknown), (expected, vec![]), "{list}");
        }
        for list in ["SHA256", "RSA", "kRSA+AES", "!ALL", "AES128:!AES"] {
            let read = parse(list).expect(list);
            assert_eq!(read.suites, Some([].into()), "{list}");
        }
    }

    #[test]
    fn names_of_iana_are_those_of_suites() {
        let names = [
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            "TLS_AES_128_GCM_SHA256",
            "TLS_RSA_WITH_AES_128_CBC_SHA",
            "ECDHE-RSA-AES128-GCM-SHA256",
            "",
        ];
        let (numbers, unknown) = of_iana(&names);
        assert_eq!(*numbers, [R128, E256, RC, EC]);
        assert_eq!(unknown, names[6..]);
    }

    #[test]
    fn names_that_gatelet_does_not_have_are_told() {
        let list = "AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256:!DES-CBC3-SHA:nonsense";
        let read = parse(list).expect("a list");
        assert_eq!(read.suites, Some([R128].into()));
        assert_eq!(read.unknown, ["AES128-SHA".into(), "nonsense".into()]);
        assert_eq!(read.others().len(), 5);
        assert!(parse("HIGH").expect("a list").others().is_empty());

        let many = parse(&"x:".repeat(1000)).expect("a list");
        assert_eq!(many.unknown.len(), MAX_UNKNOWN);
        for list in ["", "a b\n", "ä", "$x", &"x:".repeat(9999)] {
            assert_eq!(parse(list), None, "{list:?}");
        }
    }
}
