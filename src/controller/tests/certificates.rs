//! Certificates that Ingresses desire.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest;

use super::*;
use crate::util::hex;

/// An Ingress with an entry under `tls` for each Secret with its hosts, made on a day.
fn asking(name: &str, day: u8, annotations: &[(&str, &str)], tls: &[(&str, &[&str])]) -> Value {
    let mut one = ingress(name, &format!("{name}.test"), "/", "web");
    one["metadata"]["creationTimestamp"] = format!("2026-01-{day:02}T00:00:00Z").into();
    for (annotation, value) in annotations {
        one["metadata"]["annotations"][annotation] = (*value).into();
    }

    one["spec"]["tls"] = tls
        .iter()
        .map(|(secret, hosts)| match *secret {
            "" => json!({"hosts": hosts}),
            secret => json!({"hosts": hosts, "secretName": secret}),
        })
        .collect();
    one
}

const LAB: &[(&str, &str)] = &[("gatelet.dev/issuer", "lab")];

fn serving() -> Index {
    let mut index = index();
    index.apply(apply(service("web")));
    index
}

fn ours(mut secret: Value) -> Value {
    secret["metadata"]["labels"]["gatelet.dev/managed"] = "true".into();
    secret["metadata"]["annotations"]["cert-manager.io/issuer-name"] = "lab".into();
    secret
}

fn desired(output: &Output) -> &[DesiredCertificate] {
    output.desired.as_deref().expect("desired certificates")
}

/// Id, hosts, issuers.
fn short(certificate: &DesiredCertificate) -> String {
    format!(
        "{} [{}] {}",
        certificate.id,
        certificate.hosts.join(" "),
        certificate.issuers.join(",")
    )
}

fn all(output: &Output) -> Vec<String> {
    desired(output).iter().map(short).collect()
}

fn certificate_of(output: &Output, host: &str) -> Option<String> {
    let hosts = output.certificates.as_ref().expect("certificates");
    hosts
        .iter()
        .find(|one| one.pattern.to_string() == host)?
        .certificate
        .as_deref()
        .map(str::to_owned)
}

#[test]
fn the_issuer_is_chosen_by_the_annotation_that_is_nearest() {
    const CHAIN: &[(&str, &str)] = &[
        ("gatelet.dev/issuer", "lab, letsencrypt"),
        ("cert-manager.io/cluster-issuer", "letsencrypt"),
        ("cert-manager.io/issuer", "lab"),
        ("kubernetes.io/tls-acme", "true"),
    ];
    for (annotations, default, expected) in [
        (&[][..], None, None),
        (&[], Some("lab"), Some("lab")),
        (CHAIN, Some("lab"), Some("lab,letsencrypt")),
        (&CHAIN[1..], None, Some("letsencrypt")),
        (&CHAIN[2..], None, Some("lab")),
        (&CHAIN[3..], None, Some("letsencrypt")),
        (&CHAIN[3..], Some("lab"), Some("lab")),
        (&[("kubernetes.io/tls-acme", "false")], None, None),
        (&[("gatelet.dev/issuer", "none")], Some("lab"), None),
        (
            &[
                ("gatelet.dev/issuer", "none"),
                ("cert-manager.io/issuer", "lab"),
            ],
            Some("lab"),
            None,
        ),
        (&[("gatelet.dev/issuer", "lab,lab")], None, Some("lab")),
        // An invalid list of issuers counts as absent.
        (
            &[
                ("gatelet.dev/issuer", "none,lab"),
                ("cert-manager.io/issuer", "letsencrypt"),
            ],
            None,
            Some("letsencrypt"),
        ),
    ] {
        let mut index = serving();
        index.objects.settings.default_issuer = default.map(Into::into);
        index.apply(apply(asking(
            "web",
            1,
            annotations,
            &[("cert", &["a.example"])],
        )));
        let output = index.compile();
        let chosen = desired(&output)
            .first()
            .map(|certificate| certificate.issuers.join(","));
        assert_eq!(chosen.as_deref(), expected, "{annotations:?} {default:?}");
        assert_eq!(
            certificate_of(&output, "a.example").is_some(),
            expected.is_some()
        );
        let reported = reasons(&output).contains(&("web".to_owned(), "SecretNotFound"));
        assert_eq!(
            reported,
            expected.is_none(),
            "the Secret of a desired certificate is not missing"
        );
    }
}

#[test]
fn an_unknown_issuer_is_reported_once_and_used_once_it_exists() {
    let mut index = serving();
    let tls: &[(&str, &[&str])] = &[("one", &["a.example"]), ("two", &["b.example"])];
    index.apply(apply(asking(
        "web",
        1,
        &[("cert-manager.io/cluster-issuer", "late")],
        tls,
    )));
    index.apply(apply(asking(
        "plain",
        1,
        &[("cert-manager.io/cluster-issuer", "late")],
        &[],
    )));
    index.apply(apply(asking("other", 1, LAB, &[("three", &["c.example"])])));
    let output = index.compile();
    assert_eq!(all(&output), ["default/three [c.example] lab"]);

    let findings = output.findings.expect("findings");
    let [finding] = &findings
        .iter()
        .filter(|one| one.reason == Reason::UnknownIssuer)
        .collect::<Vec<_>>()[..]
    else {
        panic!("{findings:?}")
    };
    assert_eq!(
        &*finding.field,
        "metadata.annotations[cert-manager.io/cluster-issuer]"
    );
    assert_eq!(
        &*finding.message.to_string(),
        "issuer late does not exist (the known ones are lab, letsencrypt): gatelet asks for no \
            certificate"
    );

    index.set_issuers(["lab", "late", "letsencrypt"].map(Into::into).into());
    let output = index.compile();
    assert_eq!(
        all(&output),
        [
            "default/one [a.example] late",
            "default/three [c.example] lab",
            "default/two [b.example] late"
        ]
    );
    assert!(reasons(&output).is_empty());

    // The same issuers, and an issuer that no Ingress names, compile nothing.
    index.set_issuers(["lab", "late"].map(Into::into).into());
    let output = index.compile();
    assert!(output.desired.is_none() && output.certificates.is_none() && output.findings.is_none());

    index.set_issuers(["late"].map(Into::into).into());
    let output = index.compile();
    assert_eq!(all(&output).len(), 2);
    assert_eq!(
        reasons(&output),
        [
            ("other".to_owned(), "SecretNotFound"),
            ("other".to_owned(), "UnknownIssuer")
        ]
    );

    // The default is one too.
    index.objects.settings.default_issuer = Some("gone".into());
    index.apply(apply(asking("third", 1, &[], &[("", &["d.example"])])));
    assert!(reasons(&index.compile()).contains(&("third".to_owned(), "UnknownIssuer")));
}

#[test]
fn an_issuer_of_a_namespace_is_for_that_namespace() {
    let mut index = serving();
    for (name, issuer) in [("own", "late"), ("theirs", "far"), ("spelled", "other/far")] {
        index.apply(apply(asking(
            name,
            1,
            &[("gatelet.dev/issuer", issuer)],
            &[("", &["a.example"])],
        )));
    }
    assert!(desired(&index.compile()).is_empty());

    index.set_issuers(["lab", "default/late", "other/far"].map(Into::into).into());
    let output = index.compile();
    assert_eq!(all(&output), ["default/~a.example [a.example] late"]);
    assert_eq!(
        reasons(&output),
        [
            ("spelled".to_owned(), "UnknownIssuer"),
            ("theirs".to_owned(), "UnknownIssuer")
        ]
    );
    assert!(output.findings.expect("findings").iter().all(|one| {
        one.message
            .to_string()
            .contains("the known ones are lab, late)")
    }));

    index.set_issuers(["lab"].map(Into::into).into());
    assert!(desired(&index.compile()).is_empty());
}

#[test]
fn names_come_from_tls_or_the_rules_and_must_have_a_public_form() {
    let long: Vec<String> = (0..101).map(|n| format!("h{n}.example")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    let bad = &["InvalidCertificateRequest"][..];
    for (addresses, tls, expected, reported) in [
        (
            "",
            (&[("cert", &["B.example.", "a.example", "b.example"][..])]) as &[(&str, &[&str])],
            &["default/cert [a.example b.example] lab"][..],
            &[][..],
        ),
        (
            "",
            &[("", &["*.example", "a.example"])],
            &["default/~*.example [*.example a.example] lab"],
            &[],
        ),
        ("", &[("cert", &[])], &["default/cert [web.test] lab"], &[]),
        (
            "",
            &[("cert", &["a.example"]), ("cert", &["b.example"])],
            &["default/cert [a.example b.example] lab"],
            &[],
        ),
        (
            "",
            &[("", &["b.example"]), ("", &["a.example"])],
            &[
                "default/~a.example [a.example] lab",
                "default/~b.example [b.example] lab",
            ],
            &[],
        ),
        (
            "2001:DB8::1,192.0.2.1",
            &[("", &["a.example"])],
            &["default/~a.example [192.0.2.1 2001:db8::1 a.example] lab"],
            &[],
        ),
        ("", &[], &[], &[]),
        (
            "",
            &[
                ("cert", &["a.example", "under_score.example"]),
                ("good", &["a.example"]),
            ],
            &["default/good [a.example] lab"],
            bad,
        ),
        ("", &[("cert", &["-a.example"])], &[], bad),
        ("", &[("cert", &["*.under_score.example"])], &[], bad),
        (
            "",
            &[("cert", &["a.example", "b example"])],
            &["default/cert [a.example] lab"],
            &["InvalidHost"],
        ),
        (
            "",
            &[("cert", &long[1..]), ("long", &long)],
            &["default/cert [..100] lab"],
            bad,
        ),
    ] {
        let mut index = serving();
        let annotations = [
            ("gatelet.dev/issuer", "lab"),
            ("cert-manager.io/ip-sans", addresses),
        ];
        let annotations = if addresses.is_empty() {
            &annotations[..1]
        } else {
            &annotations
        };
        index.apply(apply(asking("web", 1, annotations, tls)));
        let output = index.compile();
        let short = |certificate: &DesiredCertificate| match certificate.hosts.len() {
            many if many > 3 => format!(
                "{} [..{many}] {}",
                certificate.id,
                certificate.issuers.join(",")
            ),
            _ => short(certificate),
        };
        assert_eq!(
            desired(&output).iter().map(short).collect::<Vec<_>>(),
            expected,
            "{tls:?}"
        );
        let of_reported = reasons(&output)
            .into_iter()
            .map(|(_, reason)| reason)
            .filter(|reason| *reason != "SecretNotFound");
        assert_eq!(of_reported.collect::<Vec<_>>(), reported, "{tls:?}");
    }

    // For every host there is: a certificate needs names.
    for (default, annotations, reported) in [(None, LAB, true), (Some("lab"), &[][..], false)] {
        let mut index = serving();
        index.objects.settings.default_issuer = default.map(Into::into);
        let mut all = asking("all", 1, annotations, &[("cert", &[])]);
        all["spec"]["rules"] = json!([]);
        index.apply(apply(all));
        let output = index.compile();
        assert!(desired(&output).is_empty());
        assert_eq!(
            reasons(&output).contains(&("all".to_owned(), "InvalidCertificateRequest")),
            reported
        );
    }
}

#[test]
fn annotations_set_the_terms_of_the_certificate() {
    let mut index = serving();
    let annotations = [
        ("cert-manager.io/cluster-issuer", "lab"),
        ("cert-manager.io/common-name", "A.example"),
        ("cert-manager.io/duration", "48h"),
        ("cert-manager.io/renew-before-percentage", "25"),
        ("cert-manager.io/private-key-algorithm", "RSA"),
        ("cert-manager.io/private-key-size", "8192"),
        ("cert-manager.io/private-key-rotation-policy", "Never"),
    ];
    index.apply(apply(asking(
        "web",
        1,
        &annotations,
        &[("one", &["a.example"]), ("two", &["b.example"])],
    )));
    let output = index.compile();
    let [one, two] = desired(&output) else {
        panic!("{:?}", output.desired)
    };
    assert_eq!(
        (
            one.terms.common_name.as_deref(),
            two.terms.common_name.as_deref()
        ),
        (Some("a.example"), None)
    );

    for certificate in [one, two] {
        assert_eq!(
            (certificate.terms.key_type, certificate.terms.keep_key),
            (Some(KeyType::Rsa4096), true)
        );
        assert_eq!(
            certificate.terms.duration,
            Some(std::time::Duration::from_secs(172_800))
        );
        assert_eq!(
            certificate.terms.renew_before,
            Some(RenewBefore::Percent(25))
        );
        assert_eq!(
            (certificate.about.len(), &*certificate.namespace),
            (1, "default")
        );
        assert!(certificate.existing.is_none());
    }
    assert_eq!(
        reasons(&output),
        [("web".to_owned(), "UnsupportedAnnotation")]
    );
    assert!(
        output
            .findings
            .expect("findings")
            .iter()
            .all(|one| one.severity == crate::objects::EventType::Normal)
    );

    // A name that the certificate is not for.
    let annotations = [
        ("gatelet.dev/issuer", "lab"),
        ("gatelet.dev/common-name", "c.example"),
    ];
    index.apply(apply(asking(
        "web",
        1,
        &annotations,
        &[("one", &["a.example"])],
    )));
    let output = index.compile();
    assert_eq!(desired(&output)[0].terms.common_name, None);
    assert_eq!(reasons(&output), [("web".to_owned(), "InvalidAnnotation")]);
}

#[test]
fn ingresses_with_one_secret_share_the_oldest_ones_certificate() {
    let mut index = serving();
    let other = [
        ("gatelet.dev/issuer", "letsencrypt"),
        ("gatelet.dev/key-type", "p384"),
    ];
    index.apply(apply(asking(
        "a-young",
        3,
        &other,
        &[("cert", &["a.example"])],
    )));
    index.apply(apply(asking(
        "old",
        1,
        LAB,
        &[("cert", &["b.example", "a.example"])],
    )));
    index.apply(apply(asking("silent", 2, &[], &[("cert", &["c.example"])])));
    let output = index.compile();
    assert_eq!(all(&output), ["default/cert [a.example b.example] lab"]);

    let about: Vec<&str> = desired(&output)[0]
        .about
        .iter()
        .map(|about| &*about.key.name)
        .collect();
    assert_eq!(about, ["old", "a-young"]);
    assert_eq!(
        reasons(&output),
        [("a-young".to_owned(), "CertificateConflict")]
    );

    let message = output.findings.as_ref().expect("findings")[0]
        .message
        .to_string();
    assert!(
        message.contains("default/old asks") && message.contains("different issuer, key:"),
        "{message}"
    );

    // An Ingress without an issuer joins no certificate, although others order the Secret.
    assert_eq!(
        [
            certificate_of(&output, "a.example"),
            certificate_of(&output, "c.example")
        ],
        [Some("default/cert".to_owned()), None]
    );

    // With the oldest go its terms and its hosts.
    index.apply(delete(Kind::Ingress, "old"));
    let output = index.compile();
    assert_eq!(all(&output), ["default/cert [a.example] letsencrypt"]);
    assert!(reasons(&output).is_empty());

    // An Ingress with too many hosts stays out and affects no other.
    let many: Vec<String> = (0..100).map(|n| format!("h{n}.example")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    index.apply(apply(asking("late", 4, &other, &[("cert", &many)])));
    let output = index.compile();
    assert!(output.desired.is_none());
    assert_eq!(
        reasons(&output),
        [("late".to_owned(), "InvalidCertificateRequest")]
    );

    index.apply(delete(Kind::Ingress, "a-young"));
    assert_eq!(desired(&index.compile())[0].hosts.len(), 100);
}

#[test]
fn the_names_of_one_issuer_do_not_conflict() {
    let mut index = serving();
    index.set_issuers(["letsencrypt", "letsencrypt-prod"].map(Into::into).into());
    let alias = BTreeMap::from([("letsencrypt-prod".into(), "letsencrypt".into())]);
    index.set_aliases(alias.clone());
    let tls: &[(&str, &[&str])] = &[("cert", &["a.example"])];
    for (day, issuer) in [(1, "letsencrypt"), (2, "letsencrypt-prod")] {
        let annotations = [("cert-manager.io/cluster-issuer", issuer)];
        index.apply(apply(asking(issuer, day, &annotations, tls)));
    }
    assert!(reasons(&index.compile()).is_empty());

    // An issuer with the other name as its own is another one.
    index.set_aliases(BTreeMap::new());
    let conflict = [("letsencrypt-prod".to_owned(), "CertificateConflict")];
    assert_eq!(reasons(&index.compile()), conflict);
    index.set_aliases(alias);
    assert!(reasons(&index.compile()).is_empty());
    let of_namespace = [
        "letsencrypt",
        "letsencrypt-prod",
        "default/letsencrypt-prod",
    ];
    index.set_issuers(of_namespace.map(Into::into).into());
    assert_eq!(reasons(&index.compile()), conflict);
}

#[test]
fn a_foreign_secret_is_not_claimed_and_a_managed_one_is_reused() {
    let mut index = serving();
    let both: &[(&str, &[&str])] = &[("cert", &["a.example"])];
    index.apply(apply(asking("web", 1, LAB, both)));
    assert_eq!(all(&index.compile()), ["default/cert [a.example] lab"]);

    let mut unreadable = secret("cert", "a.example");
    unreadable["data"] = "none".into();
    let mut opaque = secret("cert", "a.example");
    opaque["type"] = "Opaque".into();
    for (theirs, served, reported) in [
        (secret("cert", "a.example"), "secret", &[][..]),
        (
            secret("cert", "b.example"),
            "secret",
            &["CertificateMismatch"],
        ),
        (secret("cert", "broken"), "local", &["InvalidSecret"]),
        (opaque, "local", &["InvalidSecret"]),
        (unreadable, "local", &["Undecodable", "InvalidSecret"]),
    ] {
        index.apply(apply(theirs.clone()));
        let output = index.compile();
        assert!(index.desired.all.is_empty(), "{theirs}");
        assert_eq!(
            (
                source(&output, "a.example"),
                certificate_of(&output, "a.example")
            ),
            (served, None)
        );
        assert_eq!(
            reasons(&output)
                .into_iter()
                .map(|(_, reason)| reason)
                .collect::<Vec<_>>(),
            reported,
            "{theirs}"
        );
        index.apply(apply(ours(secret("cert", "a.example"))));
        let output = index.compile();
        assert_eq!(
            (
                source(&output, "a.example"),
                certificate_of(&output, "a.example").as_deref()
            ),
            ("secret", Some("default/cert"))
        );
        let existing = desired(&output)[0]
            .existing
            .as_ref()
            .expect("what is there");
        assert_eq!(existing.issuer.as_deref(), Some("lab"));
        assert!(existing.is_labelled && !existing.is_written);
    }

    // One more host: the managed certificate does not fit until it is reissued, without a finding.
    index.apply(apply(asking(
        "web",
        1,
        LAB,
        &[("cert", &["a.example", "b.example"])],
    )));
    let output = index.compile();
    assert_eq!(
        (all(&output), source(&output, "b.example")),
        (
            vec!["default/cert [a.example b.example] lab".to_owned()],
            "secret"
        )
    );
    assert!(reasons(&output).is_empty());

    // A damaged managed Secret is reported and reissued.
    let mut damaged = ours(secret("cert", "a.example"));
    damaged["data"]["tls.crt"] = "!".into();
    index.apply(apply(damaged));
    let output = index.compile();
    assert!(desired(&output)[0].existing.is_none());
    assert_eq!(reasons(&output), [("web".to_owned(), "InvalidSecret")]);

    index.apply(delete(Kind::Secret, "cert"));
    assert!(reasons(&index.compile()).is_empty());
}

#[test]
fn a_secret_without_its_label_stays_ours_and_is_reported() {
    let mut index = serving();
    index.apply(apply(asking("web", 1, LAB, &[("cert", &["a.example"])])));
    let mut pruned = secret("cert", "a.example");
    // SHA-256 of the chain, as `sha256sum` prints it.
    let chain = STANDARD
        .decode(pruned["data"]["tls.crt"].as_str().expect("a text"))
        .expect("base64");
    let hash = hex::encode(digest::digest(&digest::SHA256, &chain).as_ref());
    pruned["metadata"]["annotations"] = json!({
        "gatelet.dev/written": hash,
        "cert-manager.io/issuer-name": "lab",
    });

    index.apply(apply(pruned.clone()));
    let output = index.compile();
    assert_eq!(all(&output), ["default/cert [a.example] lab"]);
    let existing = desired(&output)[0].existing.as_ref().expect("a Secret");
    assert!(existing.is_written && !existing.is_labelled);
    let findings = output.findings.as_ref().expect("findings");
    assert_eq!(
        (findings[0].reason, &*findings[0].field),
        (Reason::SecretLabelRemoved, "spec.tls[0].secretName")
    );

    // A Secret with another value of the label, or with other content, has another owner.
    let mut given = pruned.clone();
    given["metadata"]["labels"] = json!({"gatelet.dev/managed": "false"});
    let mut replaced = secret("cert", "b.example");
    replaced["metadata"]["annotations"] = pruned["metadata"]["annotations"].clone();
    for theirs in [given, replaced] {
        index.apply(apply(theirs.clone()));
        index.compile();
        assert!(index.desired.all.is_empty(), "{theirs}");
        index.apply(apply(pruned.clone()));
        assert_eq!(all(&index.compile()).len(), 1);
    }
}

#[test]
fn a_secret_without_any_mark_is_ours_if_its_chain_is_stored() {
    let is_stored = |secret: &Key, chain: &[u8]| *secret.name == *"cert" && chain == b"a.example";
    let mut index = serving().recognizing(Box::new(is_stored));
    index.apply(apply(asking(
        "web",
        1,
        LAB,
        &[("cert", &["a.example"]), ("other", &["a.example"])],
    )));
    for name in ["cert", "other"] {
        index.apply(apply(secret(name, "a.example")));
    }

    let output = index.compile();
    assert_eq!(all(&output), ["default/cert [a.example] lab"]);
    let existing = desired(&output)[0].existing.as_ref().expect("a Secret");
    assert!(existing.is_written && !existing.is_labelled);
    assert_eq!(reasons(&output), [("web".to_owned(), "SecretLabelRemoved")]);

    // The label can give it away, and so can another certificate.
    let mut given = secret("cert", "a.example");
    given["metadata"]["labels"] = json!({"gatelet.dev/managed": "false"});
    for theirs in [given, secret("cert", "b.example")] {
        index.apply(apply(theirs.clone()));
        index.compile();
        assert!(index.desired.all.is_empty(), "{theirs}");
    }
}

#[test]
fn hosts_of_rules_use_the_wildcard_certificate_above_them() {
    let mut index = serving();
    index.apply(apply(asking("wild", 1, LAB, &[("", &["*.example"])])));
    index.apply(apply(ingress("app", "app.example", "/", "web")));
    index.apply(apply(ingress("deep", "a.b.example", "/", "web")));
    index.apply(apply(asking(
        "own",
        1,
        &[("gatelet.dev/issuer", "none")],
        &[("", &["own.example"])],
    )));
    let output = index.compile();
    assert_eq!(all(&output), ["default/~*.example [*.example] lab"]);

    for (host, covered) in [
        ("*.example", true),
        ("app.example", true),
        ("a.b.example", false),
        ("own.example", false),
    ] {
        assert_eq!(source(&output, host), "local");
        assert_eq!(certificate_of(&output, host).is_some(), covered, "{host}");
    }

    // Nothing that concerns certificates changes: the output has none.
    index.apply(apply(ingress("app", "app.example", "/new", "web")));
    let output = index.compile();
    assert!(output.table.is_some() && output.desired.is_none() && output.certificates.is_none());

    // The same Ingress, deleted and created again, is different.
    let mut again = asking("wild", 1, LAB, &[("", &["*.example"])]);
    again["metadata"]["uid"] = "another".into();
    index.apply(apply(again));
    assert_eq!(&*desired(&index.compile())[0].about[0].uid, "another");
}
