use std::{fs, path::PathBuf};

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::{
    acme::{
        ca::jws::ExternalAccount,
        dns::Propagation,
        issuer::{IssuerKind, LETSENCRYPT},
    },
    config::Flags,
    pki::KeyType,
    tls::LocalCa,
};

const STAGING: &str = "directory = \"letsencrypt-staging\"\n";

fn clock() -> Clock {
    Arc::new(UnixTime::now)
}

fn built_in() -> Issuers {
    Issuers::new(clock())
}

/// A temporary folder, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("gatelet-issuers-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Loads the issuers of a configuration file. Returns the first mistake, if there is one.
fn load(text: &str) -> Result<Issuers, IssuersError> {
    let issuers = load_all(text);
    let first = issuers.problems().into_iter().next();
    first.map_or(Ok(issuers), Err)
}

fn load_all(text: &str) -> Issuers {
    let folder = Folder::new(&format!(
        "file-{:x}",
        u64::from_le_bytes(crate::util::stamp::random())
    ));
    let path = folder.write("gatelet.toml", text);
    let flags = Flags {
        config: Some(path.into()),
        ..Flags::default()
    };
    Issuers::load(&Config::load(&flags).expect("a good file"), clock())
}

fn map(namespace: &str, name: &str, label: &str, issuer: &str) -> Arc<RawObject> {
    let labels = json!({ "gatelet.dev/issuer": label });
    let metadata = json!({ "namespace": namespace, "name": name, "uid": name, "labels": labels });
    let body = json!({ "metadata": metadata, "data": { "issuer": issuer } }).to_string();
    Arc::new(RawObject::parse(Kind::ConfigMap, Bytes::from(body)).expect("an object"))
}

fn apply(issuers: &mut Issuers, namespace: &str, name: &str, issuer: &str) -> bool {
    issuers.apply(&Event::Apply(map(namespace, name, "true", issuer)))
}

/// Returns the directory of an issuer, or a word for its kind.
fn directory(issuer: Option<Arc<Issuer>>) -> String {
    match issuer.as_deref().map(|issuer| &issuer.kind) {
        None => "none".to_owned(),
        Some(IssuerKind::Acme(acme)) => acme.directory.clone(),
        Some(IssuerKind::LocalCa) => "local-ca".to_owned(),
        Some(IssuerKind::SelfSigned) => "self-signed".to_owned(),
    }
}

#[test]
fn built_in_issuers_are_found_by_all_their_names() {
    let issuers = built_in();
    for name in ["letsencrypt", "letsencrypt-prod", "letsencrypt-production"] {
        assert_eq!(directory(issuers.find(name)), LETSENCRYPT);
        assert_eq!(
            &*issuers.find_in("team", name).expect("there").name,
            "letsencrypt"
        );
    }
    assert!(directory(issuers.find("letsencrypt-test")).contains("staging"));
    assert_eq!(
        [issuers.find("local-ca"), issuers.find("selfsigned")].map(directory),
        ["local-ca", "self-signed"]
    );
    assert_eq!(directory(issuers.find("letsencript")), "none");
    let names = issuers.names();
    assert!(
        names.contains("self-signed") && names.contains("letsencrypt-prod"),
        "{names:?}"
    );
    assert!(
        names.iter().all(|name| issuers.find(name).is_some()),
        "{names:?}"
    );
    assert_eq!(issuers.default(), None);
}

#[test]
fn an_issuer_of_the_file_replaces_a_built_in_one() {
    let issuers = load(
        "default_issuer = \"lab\"\n\
         [[issuers]]\nname = \"letsencrypt\"\ncontacts = [\"mailto:a@example.net\"]\n\
         key_type = \"p384\"\n\
         [[issuers]]\nname = \"letsencrypt-test\"\ndirectory = \"https://ca.example.net/test\"\n\
         [[issuers]]\nname = \"lab\"\nkind = \"self-signed\"\n",
    )
    .expect("good");
    for name in ["letsencrypt", "letsencrypt-prod"] {
        let found = issuers.find(name).expect("there");
        let acme = found.acme().expect("an ACME CA");
        assert_eq!(
            (&*acme.directory, acme.key_type),
            (LETSENCRYPT, KeyType::P384)
        );
        assert_eq!(acme.contacts, ["mailto:a@example.net"]);
    }
    assert_eq!(
        directory(issuers.find("letsencrypt-test")),
        "https://ca.example.net/test"
    );
    assert!(directory(issuers.find("letsencrypt-staging")).contains("acme-staging"));
    assert_eq!(issuers.default(), Some("lab"));
    assert_eq!(directory(issuers.find("lab")), "self-signed");
    assert!(issuers.names().contains("lab"));
}

#[test]
fn all_keys_of_the_file_reach_the_issuer() {
    let folder = Folder::new("all");
    let ca = LocalCa::generate("lab").expect("a CA");
    let roots = folder.write("roots.pem", ca.root_pem());
    let (hmac, secret) = (
        folder.write("hmac", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajV\n"),
        folder.write("tsig", "c2VjcmV0\n"),
    );
    let issuers = load(&format!(
        r#"
        [[issuers]]
        name = "lab"
        directory = "https://ca.example.net"
        roots = "{roots}"
        eab = {{ kid = "key-1", hmac_file = "{hmac}" }}
        profile = "shortlived"
        preferred_chain = "X"
        challenges = ["dns-01", "http-01", "tls-alpn-01", "dns-persist-01"]
        [issuers.dns]
        provider = "rfc2136"
        server = "192.0.2.53:53"
        key = {{ name = "k", secret_file = "{secret}" }}
        resolvers = ["192.0.2.1:53"]
        propagation = "resolvers"

        [[issuers]]
        name = "cf"
        directory = "letsencrypt"
        dns = {{ provider = "cloudflare", token_file = "{secret}" }}

        [[issuers]]
        name = "hook"
        directory = "letsencrypt"
        [issuers.dns]
        provider = "webhook"
        url = "http://192.0.2.1:8053/"
        user = "u"
        password_file = "{secret}"

        [[issuers]]
        name = "script"
        directory = "letsencrypt"
        dns = {{ provider = "command", program = "dns" }}

        [[issuers]]
        name = "ovh"
        directory = "letsencrypt"
        [issuers.dns]
        provider = "ovh"
        application_key = "k"
        secret_key_file = "{secret}"
        consumer_key_file = "{secret}"

        [[issuers]]
        name = "porkbun"
        directory = "letsencrypt"
        [issuers.dns]
        provider = "porkbun"
        api_key_file = "{secret}"
        secret_key_file = "{secret}"

        [[issuers]]
        name = "aws"
        directory = "letsencrypt"
        [issuers.dns]
        provider = "route53"
        access_key_id = "k"
        secret_key_file = "{secret}"

        [[issuers]]
        name = "hetzner"
        directory = "letsencrypt"
        dns = {{ provider = "hetzner", token_file = "{secret}" }}
        "#
    ))
    .expect("good");
    let lab = issuers.find("lab").expect("there");
    let acme = lab.acme().expect("an ACME CA");
    assert_eq!(
        (acme.roots.len(), acme.profile.as_deref()),
        (1, Some("shortlived"))
    );
    assert_eq!(acme.preferred_chain.as_deref(), Some("X"));
    assert_eq!(acme.eab.as_ref().map(ExternalAccount::kid), Some("key-1"));
    let challenges: Vec<&str> = acme
        .challenges
        .iter()
        .map(|challenge| challenge.name())
        .collect();
    assert_eq!(
        challenges,
        ["dns-01", "http-01", "tls-alpn-01", "dns-persist-01"]
    );
    let lookup = acme.dns.as_ref().expect("a provider").lookup();
    assert_eq!(
        (lookup.propagation, &lookup.resolvers[..]),
        (
            Propagation::Resolvers,
            &["192.0.2.1:53".parse().expect("an address")][..]
        )
    );
    let provider = |name| {
        format!(
            "{:?}",
            issuers.find(name).expect("there").acme().expect("ACME").dns
        )
    };
    assert_eq!(provider("lab"), "Some(Provider(rfc2136 192.0.2.53:53))");
    assert_eq!(
        provider("cf"),
        "Some(Provider(cloudflare https://api.cloudflare.com))"
    );
    assert_eq!(
        provider("hook"),
        "Some(Provider(webhook http://192.0.2.1:8053))"
    );
    assert_eq!(provider("script"), "Some(Provider(command dns))");
    for (name, at) in [
        ("ovh", "ovh https://eu.api.ovh.com"),
        ("porkbun", "porkbun https://api.porkbun.com"),
        ("aws", "route53 https://route53.amazonaws.com"),
        ("hetzner", "hetzner https://api.hetzner.cloud"),
    ] {
        assert_eq!(provider(name), format!("Some(Provider({at}))"));
    }
}

#[test]
fn an_error_names_issuer_key_file_and_reason() {
    let folder = Folder::new("wrong");
    let (empty, odd) = (folder.write("empty", "\n"), folder.write("odd", "geheim!"));
    let broken = folder.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    for (keys, parts) in [
        (
            r#"roots = "/nowhere/ca.pem""#.to_owned(),
            ["roots: /nowhere/ca.pem: No such file", ""],
        ),
        (
            format!(r#"roots = "{empty}""#),
            [&*format!("roots: {empty}: "), "no certificate in PEM"],
        ),
        (
            format!(r#"roots = "{broken}""#),
            ["roots: ", "certificate 1 cannot be used"],
        ),
        (
            r#"roots_pem = "none""#.to_owned(),
            ["roots_pem: ", "no certificate in PEM"],
        ),
        (
            r#"eab = { kid = "k", hmac_file = "/nowhere/k" }"#.to_owned(),
            ["eab.hmac_file: /nowhere/k: No such file", ""],
        ),
        (
            format!(r#"eab = {{ kid = "k", hmac_file = "{odd}" }}"#),
            ["eab.hmac_file: ", "not base64url"],
        ),
        (
            r#"eab = { kid = "k", hmac = "geheim!" }"#.to_owned(),
            ["eab.hmac: the HMAC key", "not base64url"],
        ),
        (
            format!(r#"dns = {{ provider = "cloudflare", token_file = "{empty}" }}"#),
            ["dns.token_file: ", "the file is empty"],
        ),
        (
            concat!(
                r#"dns = { provider = "webhook", url = "https://x", user = "u", "#,
                r#"password_file = "/nowhere/p" }"#
            )
            .to_owned(),
            ["dns.password_file: /nowhere/p: No such file", ""],
        ),
        (
            r#"dns = { provider = "webhook", url = "ftp://x" }"#.to_owned(),
            ["dns: webhook", "not an http or https URL"],
        ),
        (
            concat!(
                r#"dns = { provider = "rfc2136", server = "192.0.2.1:53", "#,
                r#"key = { name = "k", secret = "geheim!" } }"#
            )
            .to_owned(),
            ["dns: rfc2136 192.0.2.1:53: ", ""],
        ),
    ] {
        let issuer = "[[issuers]]\nname = \"lab\"\ndirectory = \"https://ca.example.net\"\n";
        let error = load(&format!("{issuer}{keys}\n"))
            .err()
            .unwrap_or_else(|| panic!("accepted: {keys}"))
            .to_string();
        assert!(error.starts_with("issuer lab: "), "{error}");
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        assert!(!error.contains("geheim"), "{error}");
    }
}

#[test]
fn a_mistake_in_one_issuer_leaves_the_others() {
    let folder = Folder::new("late");
    let roots = folder.0.join("late.pem");
    let mut issuers = load_all(&format!(
        "[[issuers]]\nname = \"late\"\ndirectory = \"https://ca.example.net\"\n\
         roots = \"{}\"\n\
         [[issuers]]\nname = \"good\"\nkind = \"local-ca\"\n",
        roots.display()
    ));
    let problem = |issuers: &Issuers| {
        let issuer = issuers.find("late").expect("it exists");
        issuer.problem().map(str::to_owned)
    };
    assert!(
        problem(&issuers)
            .expect("a problem")
            .contains("late.pem: No such file")
    );
    assert!(issuers.names().contains("late"));
    assert_eq!(issuers.problems().len(), 1);
    assert!(issuers.find("good").expect("there").problem().is_none());

    // The reissue of its certificates is not forced.
    let before = issuers.find("late").expect("it exists").account_id();
    assert!(!issuers.retry());
    let ca = LocalCa::generate("lab").expect("a CA");
    fs::write(&roots, ca.root_pem()).expect("a file");
    assert!(issuers.retry());
    assert_eq!((problem(&issuers), issuers.problems().len()), (None, 0));
    assert_eq!(issuers.find("late").expect("there").account_id(), before);
    assert!(!issuers.retry());
}

#[test]
fn configmaps_are_added_changed_and_removed() {
    let mut issuers = built_in();
    assert!(apply(
        &mut issuers,
        "kube-system",
        "lab",
        "directory = \"https://one.example.net\""
    ));
    let first = issuers.find("lab").expect("there");
    assert_eq!(&*first.name, "lab");
    assert!(!apply(
        &mut issuers,
        "kube-system",
        "lab",
        "directory = \"https://one.example.net\""
    ));
    assert!(
        Arc::ptr_eq(&first, &issuers.find("lab").expect("there")),
        "the same text yields the same issuer"
    );
    assert!(apply(
        &mut issuers,
        "kube-system",
        "lab",
        "kind = \"self-signed\""
    ));
    assert_eq!(directory(issuers.find("lab")), "self-signed");

    // Without the label it is not an issuer.
    assert!(issuers.apply(&Event::Apply(map("kube-system", "lab", "false", STAGING))));
    assert_eq!(directory(issuers.find("lab")), "none");
    assert!(apply(&mut issuers, "kube-system", "lab", STAGING));
    let key = map("kube-system", "lab", "true", STAGING).key.clone();
    assert!(issuers.apply(&Event::Delete(key.clone())));
    assert!(!issuers.apply(&Event::Delete(key)));
    assert_eq!(directory(issuers.find("lab")), "none");

    // A reset replaces all; those of other kinds have no effect.
    let listed = vec![
        map("kube-system", "a", "true", STAGING),
        map("kube-system", "b", "true", STAGING),
    ];
    assert!(issuers.apply(&Event::Reset(Kind::ConfigMap, listed.clone())));
    assert!(!issuers.apply(&Event::Reset(Kind::ConfigMap, listed.clone())));
    assert!(!issuers.apply(&Event::Reset(Kind::Secret, Vec::new())));
    assert!(!issuers.apply(&Event::Refused(Kind::ConfigMap)));
    assert!(issuers.apply(&Event::Reset(Kind::ConfigMap, listed[..1].to_vec())));
    assert!(issuers.find("a").is_some() && issuers.find("b").is_none());
    assert_eq!(issuers.findings(), []);
}

#[test]
fn a_configmap_of_kube_system_is_for_all_namespaces() {
    let mut issuers = load("[[issuers]]\nname = \"fixed\"\nkind = \"local-ca\"\n").expect("good");
    for (namespace, name, url) in [
        ("kube-system", "lab", "https://all.example.net"),
        ("kube-system", "letsencrypt", "https://mirror.example.net"),
        ("kube-system", "fixed", "https://other.example.net"),
        ("team", "lab", "https://team.example.net"),
        ("team", "own", "https://own.example.net"),
        ("team", "fixed", "https://other.example.net"),
    ] {
        assert!(apply(
            &mut issuers,
            namespace,
            name,
            &format!("directory = \"{url}\"")
        ));
    }
    for (namespace, name, found) in [
        (None, "lab", "https://all.example.net"),
        (Some("other"), "lab", "https://all.example.net"),
        (Some("team"), "lab", "https://team.example.net"),
        (Some("team"), "own", "https://own.example.net"),
        (None, "own", "none"),
        (Some("other"), "own", "none"),
        (Some("other"), "team/own", "none"),
        (None, "team/own", "https://own.example.net"),
        (None, "letsencrypt-prod", "https://mirror.example.net"),
        (
            Some("team"),
            "letsencrypt-prod",
            "https://mirror.example.net",
        ),
        (None, "fixed", "local-ca"),
        (Some("team"), "fixed", "local-ca"),
    ] {
        let one = namespace.map_or_else(
            || issuers.find(name),
            |namespace| issuers.find_in(namespace, name),
        );
        assert_eq!(directory(one), found, "{namespace:?} {name}");
    }
    // Issuers with the same name in two namespaces are distinct.
    assert_eq!(
        &*issuers.find_in("team", "lab").expect("there").name,
        "team/lab"
    );
    let names = issuers.names();
    assert!(
        names.contains("lab") && names.contains("team/lab") && !names.contains("own"),
        "{names:?}"
    );
    assert!(
        names.iter().all(|name| issuers.find(name).is_some()),
        "{names:?}"
    );
}

#[test]
fn a_broken_configmap_affects_only_itself() {
    let mut issuers = built_in();
    apply(&mut issuers, "team", "good", STAGING);
    let ca = LocalCa::generate("lab").expect("a CA");
    let pem = format!("{STAGING}roots_pem = '''{}'''", ca.root_pem());
    assert!(apply(&mut issuers, "team", "lab", &pem));
    let dns = |text: &str| format!("{STAGING}dns = {{ {text} }}");
    for (text, field, part) in [
        (String::new(), "data.issuer", "missing"),
        ("directory = ".to_owned(), "data.issuer", "line 1: "),
        (
            format!("{STAGING}secret_ref = \"x\""),
            "data.issuer",
            "unknown field `secret_ref`",
        ),
        (
            "kind = \"acme\"".to_owned(),
            "data.issuer.directory",
            "it is needed",
        ),
        (
            format!("{STAGING}name = \"other\""),
            "data.issuer.name",
            "not the object's name",
        ),
        (
            format!("{STAGING}roots = \"/etc/shadow\""),
            "data.issuer.roots",
            "roots_pem",
        ),
        (
            format!("{STAGING}roots_pem = \"x\""),
            "data.issuer.roots_pem",
            "no certificate",
        ),
        (
            format!("{STAGING}eab = {{ kid = \"k\", hmac = \"x\" }}"),
            "data.issuer.eab.hmac",
            "configuration file",
        ),
        (
            format!("{STAGING}eab = {{ kid = \"k\", hmac_file = \"x\" }}"),
            "data.issuer.eab.hmac_file",
            "name files",
        ),
        (
            dns("provider = \"cloudflare\", token_file = \"/etc/shadow\""),
            "data.issuer.dns.token_file",
            "name files",
        ),
        (
            dns("provider = \"duckdns\", token_file = \"/etc/shadow\""),
            "data.issuer.dns.token_file",
            "name files",
        ),
        (
            dns(
                "provider = \"ovh\", application_key = \"k\", secret_key_file = \"/etc/shadow\", \
                 consumer_key_file = \"/etc/shadow\"",
            ),
            "data.issuer.dns.secret_key_file",
            "name files",
        ),
        (
            dns("provider = \"route53\", access_key_id = \"k\", \
                 secret_key_file = \"/etc/shadow\""),
            "data.issuer.dns.secret_key_file",
            "name files",
        ),
        (
            dns("provider = \"porkbun\", api_key_file = \"/etc/shadow\", \
                 secret_key_file = \"/etc/shadow\""),
            "data.issuer.dns.api_key_file",
            "name files",
        ),
        (
            dns("provider = \"acme-dns\", url = \"https://x\", accounts_file = \"/etc/shadow\""),
            "data.issuer.dns.accounts_file",
            "name files",
        ),
        (
            dns("provider = \"command\", program = \"reboot\""),
            "data.issuer.dns.program",
            "start programs",
        ),
        (
            dns("provider = \"webhook\", url = \"http://127.0.0.1:9254\""),
            "data.issuer.dns.url",
            "https",
        ),
        (
            dns(
                "provider = \"webhook\", url = \"https://x\", user = \"u\", \
                 password_file = \"/etc/shadow\"",
            ),
            "data.issuer.dns.password_file",
            "name files",
        ),
        (
            dns("provider = \"rfc2136\", server = \"192.0.2.1:53\", \
                 key = { name = \"k\", secret = \"x\" }"),
            "data.issuer.dns.key.secret",
            "no place for secrets",
        ),
        (
            dns("provider = \"rfc2136\", server = \"192.0.2.1:53\", \
                 key = { name = \"k\", secret_file = \"x\" }"),
            "data.issuer.dns.key.secret_file",
            "name files",
        ),
    ] {
        assert!(apply(&mut issuers, "team", "lab", &text), "{text}");
        let [finding] = &issuers.findings()[..] else {
            panic!("not one finding: {text}")
        };
        assert_eq!(
            (finding.reason.as_str(), &*finding.field),
            ("InvalidIssuer", field),
            "{}",
            finding.message
        );
        assert_eq!(finding.about.key.to_string(), "ConfigMap team/lab");
        assert!(
            finding.message.to_string().contains(part),
            "{}",
            finding.message
        );
        assert!(
            issuers.find_in("team", "lab").is_none() && issuers.find_in("team", "good").is_some()
        );
        assert!(!issuers.names().contains("team/lab"));
    }
    let metadata =
        json!({ "namespace": "team", "name": "lab", "labels": { "gatelet.dev/issuer": "true" } });
    let body = json!({ "metadata": metadata, "data": { "issuer": 5 } }).to_string();
    let object = Arc::new(RawObject::parse(Kind::ConfigMap, Bytes::from(body)).expect("an object"));
    assert!(issuers.apply(&Event::Apply(object)));
    let finding = &issuers.findings()[0];
    assert_eq!(
        (&*finding.field, &*finding.message.to_string()),
        ("data.issuer", "expected a string, found a number")
    );

    // Other keys are allowed, and a repaired issuer exists again.
    assert!(apply(
        &mut issuers,
        "team",
        "lab",
        &dns("provider = \"webhook\", url = \"https://dns.example.net\"")
    ));
    assert!(apply(
        &mut issuers,
        "team",
        "lab",
        &dns("provider = \"rfc2136\", server = \"192.0.2.1:53\"")
    ));
    assert_eq!(issuers.findings(), []);
    assert!(issuers.find_in("team", "lab").is_some());

    assert!(apply(&mut issuers, "team", "lab.example", STAGING));
    assert_eq!(&*issuers.findings()[0].field, "metadata.name");
    assert!(issuers.apply(&Event::Reset(Kind::ConfigMap, Vec::new())));
    assert_eq!(issuers.findings(), []);
}
