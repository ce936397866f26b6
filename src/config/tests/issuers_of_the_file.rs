//! `[[issuers]]`: the issuers that it describes, and the error for each mistake in it.

use super::*;
use crate::{acme::issuer::ChallengeType, pki::KeyType};

/// Returns the ACME settings of the only issuer.
fn acme(text: &str) -> Acme {
    let config = parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    match &config.issuers[..] {
        [
            Issuer {
                kind: IssuerKind::Acme(acme),
                ..
            },
        ] => (**acme).clone(),
        other => panic!("{other:?}"),
    }
}

fn dns(text: &str) -> Dns {
    acme(&format!(
        "[[issuers]]\nname = \"letsencrypt\"\n[issuers.dns]\n{text}"
    ))
    .dns
    .expect("set")
}

#[test]
fn an_issuer_with_a_well_known_name_needs_nothing_else() {
    let all = acme("[[issuers]]\nname = \"letsencrypt-staging\"\n");
    assert_eq!(all.directory, Directory::Preset("letsencrypt-staging"));
    assert_eq!(
        (all.key_type, &all.challenges, &all.dns, &all.eab),
        (KeyType::P256, &Vec::new(), &None, &None)
    );
    assert_eq!(
        acme("[[issuers]]\nname = \"mine\"\ndirectory = \"letsencrypt\"\n").directory,
        Directory::Preset("letsencrypt")
    );

    let own =
        acme("[[issuers]]\nname = \"letsencrypt\"\ndirectory = \"https://ca.example.net/dir\"\n");
    assert_eq!(
        own.directory,
        Directory::Url("https://ca.example.net/dir".to_owned())
    );

    let others = "[[issuers]]\nname = \"local-ca\"\nkind = \"local-ca\"\n\
                  [[issuers]]\nname = \"own\"\nkind = \"self-signed\"";
    let kinds: Vec<IssuerKind> = parse(others)
        .expect("good")
        .issuers
        .into_iter()
        .map(|issuer| issuer.kind)
        .collect();
    assert_eq!(kinds, [IssuerKind::LocalCa, IssuerKind::SelfSigned]);
}

#[test]
fn every_key_of_an_issuer_is_read() {
    let issuers = parse(&uncommented()).expect("good").issuers;
    let IssuerKind::Acme(lab) = &issuers[1].kind else {
        panic!("{issuers:?}")
    };

    let secret = Secret::File("/etc/gatelet/tsig-secret".into());
    let key = TsigKey {
        name: "gatelet".to_owned(),
        algorithm: TsigAlgorithm::HmacSha256,
        secret,
    };
    let expected = Acme {
        directory: Directory::Url("https://ca.example.net/directory".to_owned()),
        roots: Some("/etc/gatelet/lab-ca.pem".into()),
        roots_pem: None,
        contacts: vec!["mailto:ops@example.net".to_owned()],
        eab: Some(Eab {
            kid: "key-1".to_owned(),
            hmac: Secret::File("/etc/gatelet/lab-hmac".into()),
        }),
        profile: Some("shortlived".to_owned()),
        preferred_chain: Some("Lab Root X1".to_owned()),
        key_type: KeyType::P256,
        challenges: vec![ChallengeType::Dns01, ChallengeType::Http01],
        dns: Some(Dns {
            provider: DnsProvider::Rfc2136 {
                server: "192.0.2.53:53".parse().expect("an address"),
                zone: Some("example.net".to_owned()),
                key: Some(key),
            },
            resolvers: ["192.0.2.1:53", "[2001:db8::1]:53"]
                .map(|at| at.parse().expect("an address"))
                .to_vec(),
            propagation: Propagation::Authoritative,
            follow_cname: true,
        }),
    };
    assert_eq!(**lab, expected);
}

#[test]
fn each_dns_provider_is_read_with_its_keys() {
    let provider =
        dns("provider = \"webhook\"\nurl = \"https://dns.example.net\"\nfollow_cname = false")
            .provider;
    assert_eq!(
        provider,
        DnsProvider::Webhook {
            url: "https://dns.example.net".to_owned(),
            login: None
        }
    );

    for (name, api) in [
        ("desec", TokenApi::DeSec),
        ("digitalocean", TokenApi::DigitalOcean),
        ("duckdns", TokenApi::DuckDns),
        ("gandi", TokenApi::Gandi),
        ("hetzner", TokenApi::Hetzner),
    ] {
        let provider = dns(&format!("provider = \"{name}\"\ntoken_file = \"/t\"")).provider;
        let expected = DnsProvider::Token {
            api,
            token_file: "/t".into(),
            base: None,
        };
        assert_eq!((provider, api.name()), (expected, name));
    }

    let asked = dns("provider = \"command\"\nprogram = \"x\"\n\
         propagation = \"resolvers\"\nfollow_cname = false");
    assert_eq!(
        (asked.propagation, asked.follow_cname),
        (Propagation::Resolvers, false)
    );

    let DnsProvider::Rfc2136 { key, .. } = dns("provider = \"rfc2136\"\nserver = \"[::1]:53\"\n\
         key = { name = \"k\", algorithm = \"hmac-sha512\", secret = \"c2VjcmV0\" }")
    .provider
    else {
        panic!("not rfc2136")
    };
    let key = key.expect("set");
    assert_eq!(key.secret, Secret::Inline("c2VjcmV0".to_owned()));
    assert!(!format!("{key:?}").contains("c2VjcmV0"), "{key:?}");
}

/// The first lines of an issuer that is good.
const HEAD: &str = "[[issuers]]\nname = \"lab\"\ndirectory = \"https://ca.example.net/dir\"\n";

/// Checks that each text is refused at its line, with a message that has all parts.
fn assert_refused(cases: &[(String, usize, &[&str])]) {
    for (text, line, parts) in cases {
        let error = parse(text).expect_err(text).to_string();
        let place = format!("gatelet.toml, line {line}: ");
        assert!(error.starts_with(&place), "{error}\n{text}");
        for part in *parts {
            assert!(error.contains(part), "{part}\n{error}\n{text}");
        }
    }
}

#[test]
fn mistakes_in_name_kind_and_directory_name_line_and_key() {
    assert_refused(&[
        (
            "[[issuers]]\nkind = \"acme\"\n".to_owned(),
            2,
            &["issuers[0].name", "needs it"],
        ),
        (
            "[[issuers]]\nname = \"a.b\"\n".to_owned(),
            2,
            &["issuers[0].name", "\"a.b\" is not of 1 to 63 lower-case"],
        ),
        (
            format!("{HEAD}{HEAD}"),
            5,
            &["issuers[1].name", "another issuer is named \"lab\""],
        ),
        (
            "[[issuers]]\nname = \"local-ca\"\n".to_owned(),
            2,
            &["issuers[0].name", "of this kind"],
        ),
        (
            "[[issuers]]\nname = \"self-signed\"\nkind = \"local-ca\"\n".to_owned(),
            2,
            &["issuers[0].name", "this kind"],
        ),
        (
            "[[issuers]]\nname = \"a\"\nkind = \"vault\"\n".to_owned(),
            3,
            &["`vault`", "`acme`", "`local-ca`"],
        ),
        (
            "[[issuers]]\nname = \"a\"\nkind = \"local-ca\"\nprofile = \"x\"\n".to_owned(),
            4,
            &["issuers[0].profile", "kind \"acme\" only"],
        ),
        (
            format!("{HEAD}secret_ref = \"x\"\n"),
            4,
            &["unknown field `secret_ref`", "`roots_pem`"],
        ),
        (
            "[[issuers]]\nname = \"a\"\n".to_owned(),
            2,
            &["issuers[0].directory", "needed", "\"letsencrypt-staging\""],
        ),
        (
            "[[issuers]]\nname = \"a\"\ndirectory = \"http://ca.example.net\"\n".to_owned(),
            3,
            &["issuers[0].directory", "an https URL"],
        ),
        (
            "[[issuers]]\nname = \"a\"\ndirectory = \"https://me:pw@ca.example.net\"\n".to_owned(),
            3,
            &["issuers[0].directory", "an https URL"],
        ),
    ]);
}

#[test]
fn mistakes_in_the_account_and_challenges_name_line_and_key() {
    assert_refused(&[
        (
            format!("{HEAD}contacts = [\"ops@example.net\"]\n"),
            4,
            &["issuers[0].contacts", "mailto:ops@example.net"],
        ),
        (
            format!("{HEAD}contacts = [\"mailto:a@b,c@d\"]\n"),
            4,
            &["issuers[0].contacts", "mailto:"],
        ),
        (
            format!("{HEAD}profile = \" \"\n"),
            4,
            &["issuers[0].profile", "empty"],
        ),
        (
            format!("{HEAD}preferred_chain = \"\"\n"),
            4,
            &["issuers[0].preferred_chain", "empty"],
        ),
        (
            format!("{HEAD}key_type = \"rsa\"\n"),
            4,
            &["`rsa`", "`p256`", "`p384`", "`rsa2048`"],
        ),
        (
            format!("{HEAD}challenges = [\"http\"]\n"),
            4,
            &["`http`", "`http-01`", "`dns-persist-01`"],
        ),
        (
            format!("{HEAD}challenges = [\"http-01\", \"http-01\"]\n"),
            4,
            &["issuers[0].challenges", "twice"],
        ),
        (
            format!("{HEAD}challenges = [\"dns-01\"]\n"),
            4,
            &["issuers[0].challenges", "needs `dns`"],
        ),
        (
            format!(
                "{HEAD}challenges = [\"http-01\"]\n\
                 dns = {{ provider = \"command\", program = \"x\" }}\n"
            ),
            5,
            &["issuers[0].dns", "unless `challenges` has \"dns-01\""],
        ),
        (
            format!("{HEAD}[issuers.eab]\nhmac_file = \"/x\"\n"),
            5,
            &["issuers[0].eab.kid", "needs it"],
        ),
        (
            format!("{HEAD}[issuers.eab]\nkid = \"k\"\n"),
            5,
            &["issuers[0].eab.hmac_file", "or eab.hmac"],
        ),
        (
            format!("{HEAD}[issuers.eab]\nkid = \"k\"\nhmac = \"a\"\nhmac_file = \"b\"\n"),
            7,
            &["issuers[0].eab.hmac_file", "only one"],
        ),
    ]);
}

#[test]
fn mistakes_in_dns_name_line_and_key() {
    let dns = |text: &str| format!("{HEAD}[issuers.dns]\n{text}");
    assert_refused(&[
        (
            dns("zone = \"example.net\"\n"),
            5,
            &[
                "issuers[0].dns.provider",
                "\"rfc2136\", \"acme-dns\", \"cloudflare\"",
            ],
        ),
        (
            dns("provider = \"azure\"\n"),
            5,
            &["`azure`", "`acme-dns`", "`webhook`"],
        ),
        (
            dns("provider = \"rfc2136\"\n"),
            5,
            &["issuers[0].dns.server", "\"rfc2136\" needs it"],
        ),
        (
            dns("provider = \"rfc2136\"\nserver = \"ns1\"\n"),
            6,
            &["socket address", "server = "],
        ),
        (
            dns("provider = \"rfc2136\"\nserver = \"[::1]:53\"\nurl = \"x\"\n"),
            7,
            &["issuers[0].dns.url", "zone, key"],
        ),
        (
            dns("provider = \"cloudflare\"\n"),
            5,
            &["issuers[0].dns.token_file", "needs it"],
        ),
        (
            dns("provider = \"hetzner\"\ntoken_file = \"x\"\nzone_id = \"y\"\n"),
            7,
            &[
                "issuers[0].dns.zone_id",
                "no such key, only token_file, base",
            ],
        ),
        (
            dns("provider = \"ovh\"\napplication_key = \"x\"\nconsumer_key_file = \"y\"\n"),
            5,
            &["issuers[0].dns.secret_key_file", "\"ovh\" needs it"],
        ),
        (
            dns("provider = \"acme-dns\"\nurl = \"https://x\"\n"),
            5,
            &["issuers[0].dns.accounts_file", "\"acme-dns\" needs it"],
        ),
        (
            dns("provider = \"webhook\"\n"),
            5,
            &["issuers[0].dns.url", "needs it"],
        ),
        (
            dns("provider = \"webhook\"\nurl = \"https://x\"\nuser = \"u\"\n"),
            5,
            &["issuers[0].dns.password_file", "`user` needs it"],
        ),
        (
            dns("provider = \"webhook\"\nurl = \"https://x\"\npassword_file = \"u\"\n"),
            5,
            &["issuers[0].dns.user", "`password_file` needs it"],
        ),
        (
            dns("provider = \"command\"\n"),
            5,
            &["issuers[0].dns.program", "needs it"],
        ),
        (
            dns("provider = \"command\"\nprogram = \"x\"\nresolvers = [\"1.1.1.1\"]\n"),
            7,
            &["socket address"],
        ),
        (
            dns("provider = \"command\"\nprogram = \"x\"\npropagation = \"all\"\n"),
            7,
            &["`all`", "`resolvers`"],
        ),
        (
            dns("provider = \"rfc2136\"\nserver = \"[::1]:53\"\n\
                 [issuers.dns.key]\nsecret = \"x\"\n"),
            8,
            &["issuers[0].dns.key.name", "needs it"],
        ),
        (
            dns("provider = \"rfc2136\"\nserver = \"[::1]:53\"\nkey = { name = \"k\" }\n"),
            7,
            &["issuers[0].dns.key.secret_file", "or dns.key.secret"],
        ),
        (
            dns("provider = \"rfc2136\"\nserver = \"[::1]:53\"\n\
                 key = { name = \"k\", algorithm = \"hmac-md5\" }\n"),
            7,
            &["`hmac-md5`", "`hmac-sha256`"],
        ),
    ]);
}

#[test]
fn a_default_issuer_that_is_no_name_is_refused() {
    let error = parse("default_issuer = \"Let's Encrypt\"")
        .expect_err("no name")
        .to_string();
    assert!(
        error.starts_with("default_issuer: \"Let's Encrypt\" is not of 1 to 63 lower-case"),
        "{error}"
    );
}

#[test]
fn errors_and_print_show_no_secrets() {
    for text in [
        "[[issuers]]\nname = \"letsencrypt\"\n\
         eab = { kid = \"k\", hmac = \"geheim\", hmac_file = \"x\" }\n",
        "[[issuers]]\nname = \"letsencrypt\"\n[issuers.eab]\nhmac \"geheim\"\n",
        "[[issuers]]\nname = \"letsencrypt\"\n[issuers.dns.key]\nsecret = \"geheim\" \"\n",
    ] {
        let error = parse(text).expect_err(text);
        assert!(error.to_string().contains("not shown"), "{error}");
        assert!(
            !format!("{error} {error:?}").contains("geheim"),
            "{error:?}"
        );
    }

    let text = "[[issuers]]\nname = \"letsencrypt\"\neab = { kid = \"k\", hmac = \"geheim\" }\n";
    let config = parse(text).expect("good");
    let file = (Path::new("gatelet.toml"), text);
    let shown = effective::settings(&config, Some(file), &|_| None);
    let shown: Vec<(&str, String)> = shown
        .iter()
        .filter(|one| one.key.starts_with("issuers"))
        .map(|one| (&*one.key, one.value.to_string()))
        .collect();
    let expected = [
        ("issuers[0].name", "letsencrypt"),
        ("issuers[0].eab.kid", "k"),
        ("issuers[0].eab.hmac", "<hidden>"),
    ];
    assert_eq!(
        shown,
        expected.map(|(key, value)| (key, format!("{value:?}")))
    );
    assert!(!format!("{:?}", parse(text).expect("good")).contains("geheim"));
}

#[test]
fn a_single_table_takes_the_name_of_its_object() {
    let parse = |text| Issuer::parse("team", text);
    assert_eq!(parse("kind = \"local-ca\"").expect("good").name, "team");
    assert_eq!(
        parse("name = \"team\"\nkind = \"local-ca\"")
            .expect("good")
            .kind,
        IssuerKind::LocalCa
    );

    for (text, field, part) in [
        (
            "name = \"other\"",
            "name",
            "\"other\" is not the object's name, \"team\"",
        ),
        (
            "\nkind = \"vault\"",
            "",
            "line 2: unknown variant `vault`, expected one of `acme`",
        ),
        ("[[issuers]]", "", "line 1: unknown field `issuers`"),
        ("", "directory", "it is needed"),
    ] {
        let problem = parse(text).expect_err(text);
        assert_eq!(problem.field, field);
        assert!(problem.to_string().contains(part), "{problem}");
    }
}

/// Each block of `docs/issuers.md` that configures a provider is read, and none is left out.
#[test]
fn every_provider_is_documented_with_a_valid_example() {
    let page = include_str!("../../../docs/issuers.md");
    let blocks = page.split("```toml\n").skip(1);
    let examples = blocks.filter_map(|block| {
        let block = block.split("```").next().unwrap_or_default();
        block.starts_with("[issuers.dns]").then_some(block)
    });

    let mut seen: BTreeSet<String> = BTreeSet::new();
    for example in examples {
        let text = format!("[[issuers]]\nname = \"letsencrypt\"\n{example}");
        let provider = acme(&text).dns.expect("set").provider;
        let kind = format!("{provider:?}");
        let kind = match provider {
            DnsProvider::Token { api, .. } => api.name(),
            _ => kind.split(' ').next().unwrap_or_default(),
        };
        seen.insert(kind.to_ascii_lowercase());
    }
    let expected = [
        "acmedns",
        "cloudflare",
        "command",
        "desec",
        "digitalocean",
        "duckdns",
        "gandi",
        "hetzner",
        "ovh",
        "porkbun",
        "rfc2136",
        "route53",
        "webhook",
    ];
    assert_eq!(seen, expected.map(str::to_owned).into());
}
