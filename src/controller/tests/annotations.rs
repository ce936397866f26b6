//! The table of annotations: every row is walked, and is what the page says.

mod values;

use std::{fmt::Write, time::Duration};

use values::VALUES;

use super::{
    super::{
        annotations,
        peers::{GUARD_WORDS, Meaning, PEERS, Peer, Scope},
    },
    *,
};
use crate::routing::HAS_BROTLI;

/// Returns the settings that a value of an annotation makes, and the reasons of its findings.
fn read(name: &str, value: &str) -> (String, Vec<&'static str>) {
    let mut annotated = annotations::read(&[(name.into(), value.into())]);
    let reasons = std::mem::take(&mut annotated.findings)
        .iter()
        .map(|one| one.reason.as_str())
        .collect();
    (format!("{annotated:?}"), reasons)
}

#[test]
fn every_prefix_ends_with_its_only_slash() {
    for row in ANNOTATIONS.iter().flat_map(|table| table.rows) {
        for prefix in row.prefixes {
            assert_eq!(prefix.find('/'), Some(prefix.len() - 1), "{prefix}");
        }
        assert!(!row.name.contains('/'), "{}", row.name);
    }
}

#[test]
fn every_row_reads_its_values_and_reports_invalid_ones() {
    let nothing = format!("{:?}", annotations::AnnotationValues::default());
    for row in ANNOTATIONS.iter().flat_map(|table| table.rows) {
        let names = row
            .prefixes
            .iter()
            .map(|prefix| format!("{prefix}{}", row.name.replace('*', "countries")));
        for name in names {
            // A name with its prefix has values of its own.
            let of = |name: &str| VALUES.iter().find(|(named, ..)| *named == name);
            let values = of(&name).or_else(|| of(row.name));
            let Some((_, setting, idle, nonsense)) = values else {
                // Values with a finding come below.
                assert!(
                    [
                        "auth-snippet",
                        "brotli",
                        "configuration-snippet",
                        "email-sans",
                        "server-snippet",
                        "uri-sans",
                        "unsupported-guards"
                    ]
                    .contains(&row.name),
                    "{name}"
                );
                continue;
            };
            for value in *setting {
                let (annotated, reasons) = read(&name, value);
                assert!(
                    annotated != nothing && reasons.is_empty(),
                    "{name}: {value:?}: {reasons:?}"
                );
            }
            for value in *idle {
                assert_eq!(
                    read(&name, value),
                    (nothing.clone(), vec![]),
                    "{name}: {value:?}"
                );
            }
            for value in *nonsense {
                let (annotated, reasons) = read(&name, value);
                assert_eq!(reasons, ["InvalidAnnotation"], "{name}: {value:?}");
                let is_closed = annotated.contains("is_closed: true");
                assert_eq!(is_closed, row.is_guard, "{name}: {value:?}");
                assert!(row.is_guard || annotated == nothing, "{name}: {value:?}");
            }
        }
    }

    for (name, value) in [
        ("cert-manager.io/email-sans", "a@example"),
        ("cert-manager.io/uri-sans", "spiffe://a"),
        ("nginx.ingress.kubernetes.io/ssl-ciphers", "AES128"),
        (
            "haproxy-ingress.github.io/session-cookie-strategy",
            "prefix",
        ),
        ("haproxy-ingress.github.io/session-cookie-preserve", "true"),
        ("haproxy-ingress.github.io/proxy-protocol", "v2-ssl-cn"),
        ("haproxy.org/send-proxy-protocol", "proxy-v2-ssl-cn"),
        ("haproxy-ingress.github.io/session-cookie-shared", "true"),
        (
            "haproxy-ingress.github.io/session-cookie-keywords",
            "httponly maxlife",
        ),
        (
            "nginx.ingress.kubernetes.io/ssl-prefer-server-ciphers",
            "false",
        ),
        ("cert-manager.io/private-key-algorithm", "Ed25519"),
        ("cert-manager.io/private-key-size", "521"),
        ("cert-manager.io/private-key-size", "8192"),
    ] {
        assert_eq!(read(name, value).1, ["UnsupportedAnnotation"], "{name}");
    }
    let (asked, reasons) = read("gatelet.dev/brotli", "true");
    let expected: &[&str] = match HAS_BROTLI {
        true => &[],
        false => &["UnsupportedAnnotation"],
    };
    assert!(asked != nothing && reasons == expected, "{reasons:?}");
    assert_eq!(
        read("cert-manager.io/alt-names", "x"),
        (nothing, vec!["UnknownAnnotation"])
    );
}

#[test]
fn a_decision_about_guards_that_makes_no_sense_refuses() {
    for (value, guards, complaints) in [
        ("refuse", UnsupportedGuards::Refuse, 0),
        ("ignore", UnsupportedGuards::Ignore, 0),
        ("Ignore", UnsupportedGuards::Refuse, 1),
        ("", UnsupportedGuards::Refuse, 1),
    ] {
        let annotated =
            annotations::read(&[("gatelet.dev/unsupported-guards".into(), value.into())]);
        assert_eq!(
            (annotated.guards, annotated.findings.len()),
            (Some(guards), complaints),
            "{value:?}"
        );
    }
}

#[test]
fn durations_are_read_as_go_writes_them() {
    for (value, seconds) in [
        ("2160h", 7_776_000.0),
        ("2160h0m0s", 7_776_000.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("1m0.5s", 60.5),
    ] {
        let annotated = annotations::read(&[("gatelet.dev/duration".into(), value.into())]);
        assert_eq!(
            annotated.duration,
            Some(Duration::from_secs_f64(seconds)),
            "{value}"
        );
    }
}

#[test]
fn the_upper_valid_annotation_applies() {
    let annotated = |all: &[(&str, &str)]| {
        annotations::read(
            &all.iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect::<Vec<_>>(),
        )
    };
    let both = |ours: &str| {
        annotated(&[
            ("gatelet.dev/ssl-redirect", ours),
            ("nginx.ingress.kubernetes.io/ssl-redirect", "true"),
        ])
        .https
        .redirect
    };
    assert_eq!((both("false"), both("maybe")), (Some(false), Some(true)));

    let key = annotated(&[
        ("cert-manager.io/private-key-algorithm", "RSA"),
        ("cert-manager.io/private-key-size", "4096"),
        ("gatelet.dev/key-type", "p256"),
    ]);
    assert_eq!(key.key_type, Some(KeyType::P256));

    let mut renewal = vec![
        ("cert-manager.io/renew-before-percentage", "20"),
        ("gatelet.dev/renew-before", "30h"),
    ];
    assert_eq!(
        annotated(&renewal).renew_before.map(|(_, is)| is),
        Some(RenewBefore::Time(Duration::from_secs(108_000)))
    );

    renewal.push(("cert-manager.io/duration", "30h"));
    let annotated = annotated(&renewal);
    assert_eq!(
        (annotated.renew_before.is_none(), annotated.findings.len()),
        (true, 1),
        "it would be renewed without end"
    );
}

#[test]
fn algorithm_and_size_of_cert_manager_make_a_key_type() {
    for (algorithm, size, expected) in [
        ("RSA", None, KeyType::Rsa2048),
        ("RSA", Some("3072"), KeyType::Rsa3072),
        ("rsa", Some("4096"), KeyType::Rsa4096),
        ("RSA", Some("8192"), KeyType::Rsa4096),
        ("ECDSA", None, KeyType::P256),
        ("ECDSA", Some("384"), KeyType::P384),
        ("Ed25519", None, KeyType::P256),
    ] {
        let mut both = vec![(
            "cert-manager.io/private-key-algorithm".into(),
            algorithm.into(),
        )];
        both.extend(size.map(|size| ("cert-manager.io/private-key-size".into(), size.into())));
        let key_type = annotations::read(&both).key_type;
        assert_eq!(key_type, Some(expected), "{algorithm} {size:?}");
    }

    // A size of the other algorithm has no effect.
    for (algorithm, size, expected) in [
        ("RSA", "384", KeyType::Rsa2048),
        ("ECDSA", "4096", KeyType::P256),
    ] {
        let values = annotations::read(&[
            (
                "cert-manager.io/private-key-algorithm".into(),
                algorithm.into(),
            ),
            ("cert-manager.io/private-key-size".into(), size.into()),
        ]);
        let reasons: Vec<_> = values.findings.iter().map(|one| one.reason).collect();
        let found = (values.key_type, reasons);
        assert_eq!(found, (Some(expected), vec![Reason::InvalidAnnotation]));
    }
}

/// The page, from the tables.
fn page() -> String {
    let mut page = String::new();
    for table in ANNOTATIONS {
        let differs = table.rows.iter().any(|row| !row.difference.is_empty());
        write!(page, "### {}\n\n", table.title).expect("memory");
        page += if differs {
            "| annotation | values | effect | difference |\n|---|---|---|---|\n"
        } else {
            "| annotation | values | effect |\n|---|---|---|\n"
        };
        for row in table.rows {
            let names: Vec<String> = row
                .prefixes
                .iter()
                .map(|prefix| format!("`{prefix}{}`", row.name))
                .collect();
            let names = names.join(" ");
            write!(page, "| {names} | {} | {} |", row.values, row.effect).expect("memory");
            if differs {
                write!(page, " {} |", row.difference).expect("memory");
            }
            page.push('\n');
        }
        page.push('\n');
    }

    page
}

/// The cell for the effect of an annotation.
fn effect(meaning: Meaning) -> String {
    match meaning {
        Meaning::Guard(what, Scope::Paths) => format!("**503**: it asks for {what}"),
        Meaning::Guard(what, Scope::Hosts) => {
            format!("**503 on the whole host**: it asks for {what}")
        }
        Meaning::Guard(what, Scope::Mergeable) => {
            format!("**503**, of a master on the whole host: it asks for {what}")
        }
        Meaning::Canary => "**not served**: it asks for a part of the requests".to_owned(),
        Meaning::HttpsOnly => "plain HTTP is redirected to HTTPS".to_owned(),
        Meaning::Detail(of) => format!("none without {of}"),
        Meaning::Unsupported(effect) => format!("none: {effect}"),
        Meaning::Nothing => "none needed".to_owned(),
        Meaning::OnIngresses | Meaning::Unknown => panic!("no row says that"),
    }
}

/// The part of the page about a controller.
fn section(peer: &Peer) -> String {
    let quoted = |names: &[&str]| {
        names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let prefixes = match peer.prefixes {
        [""] => "Without a prefix".to_owned(),
        prefixes => format!("Under {}", quoted(prefixes)),
    };
    let services = if peer.services {
        ", on Services too"
    } else {
        ""
    };
    let mut section = format!("### {}\n\n{prefixes}{services}:\n\n", peer.name);
    section += "| annotation | with | effect here |\n|---|---|---|\n";
    for row in peer.rows {
        writeln!(
            section,
            "| {} | {} | {} |",
            quoted(row.names),
            row.values(),
            effect(row.meaning)
        )
        .expect("memory");
    }

    section
}

#[test]
fn the_page_of_annotations_is_the_tables() {
    let text = include_str!("../../../docs/annotations.md");
    let peers = PEERS.iter().filter(|peer| !peer.rows.is_empty());
    let sections: Vec<String> = peers.map(|peer| section(peer)).collect();
    for part in [page(), sections.join("\n")] {
        assert!(
            text.contains(&part),
            "docs/annotations.md lacks this:\n{part}"
        );
    }

    for word in GUARD_WORDS {
        assert!(
            text.contains(&format!("`{word}`")),
            "docs/annotations.md does not name {word}"
        );
    }
}
