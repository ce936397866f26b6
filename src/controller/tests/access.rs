//! Decisions about who may come in: the results of annotations and Secrets, and each way in which
//! they can fail.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::routing::{Access, AddressVerdict, Entry, RequestStep};

const HASH: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
const NGINX: &str = "nginx.ingress.kubernetes.io/";

fn secret(name: &str, values: &[(&str, &str)]) -> Value {
    let data: BTreeMap<&str, String> = values
        .iter()
        .map(|(key, value)| (*key, STANDARD.encode(value)))
        .collect();
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "type": "Opaque", "data": data})
}

/// An index with an Ingress and its Service, each with annotations, and Secrets.
fn compiled(on_ingress: &[(&str, &str)], on_service: &[(&str, &str)]) -> (Index, Output) {
    let mut index = index();
    let mut web = service("web");
    for (name, value) in on_service {
        web["metadata"]["annotations"][*name] = (*value).into();
    }
    index.apply(apply(web));
    index.apply(apply(secret(
        "users",
        &[("auth", &format!("ann:{HASH}\n"))],
    )));
    index.apply(apply(secret("map", &[("bob", HASH)])));
    index.apply(apply(secret("other", &[("auth", "nothing")])));
    index.apply(apply(secret("plain", &[("auth", "eve::open")])));
    let mut one = ingress("web", "a.example", "/", "web");
    for (name, value) in on_ingress {
        one["metadata"]["annotations"][*name] = (*value).into();
    }
    index.apply(apply(one));
    let output = index.compile();
    (index, output)
}

/// The decisions on the route of a host.
fn accesses(index: &Index, host: &str) -> Vec<Arc<Access>> {
    let found = index.table().find(Some(host), "/", &GET).expect("a route");
    let steps = found.route.steps.iter().flat_map(|steps| &steps.request);
    let accesses = steps.filter_map(|step| match step {
        RequestStep::Access(access) => Some(access.clone()),
        _ => None,
    });
    accesses.collect()
}

/// Returns the users of the login and the verdict about 10.0.0.1, or the refusal.
fn who(on_ingress: &[(&str, &str)]) -> String {
    let (index, _) = compiled(on_ingress, &[]);
    let refusal = met(&index, "a.example", "/");
    if refusal != "empty" {
        return refusal;
    }
    let accesses = accesses(&index, "a.example");
    let words = accesses.iter().map(|access| {
        let names = ["ann", "bob", "eve"];
        let users = access.login.iter().flat_map(|login| {
            let known = names
                .iter()
                .filter(|name| login.users.find(name.as_bytes()).is_some());
            known.map(|name| (*name).to_owned())
        });
        let users: Vec<String> = users.collect();
        let verdict = access.judge("10.0.0.1".parse().ok());
        if verdict == AddressVerdict::Unlisted {
            users.join(",")
        } else {
            format!("{users:?} {verdict:?}")
        }
    });
    words.collect::<Vec<String>>().join(" and ")
}

fn nginx(rest: &str) -> String {
    format!("{NGINX}{rest}")
}

#[test]
fn a_login_has_the_users_of_its_secret() {
    let (kind, name, form) = (
        nginx("auth-type"),
        nginx("auth-secret"),
        nginx("auth-secret-type"),
    );
    assert_eq!(who(&[(&kind, "basic"), (&name, "users")]), "ann");
    assert_eq!(who(&[(&kind, "Basic"), (&name, "default/users")]), "ann");
    let map = [(&*kind, "basic"), (&*name, "map"), (&*form, "auth-map")];
    assert_eq!(who(&map), "bob");

    for (annotations, expected) in [
        (
            &[("haproxy-ingress.github.io/auth-secret", "users")][..],
            "ann",
        ),
        (&[("haproxy-ingress.github.io/auth-secret", "plain")], "eve"),
        (&[("ingress.kubernetes.io/auth-secret", "users")], "ann"),
        (
            &[
                ("haproxy.org/auth-type", "basic-auth"),
                ("haproxy.org/auth-secret", "map"),
            ],
            "bob",
        ),
        (
            &[
                ("gatelet.dev/auth-type", "basic"),
                ("gatelet.dev/auth-secret", "users"),
            ],
            "ann",
        ),
        // No login without a kind, and no kind without a value.
        (&[("nginx.ingress.kubernetes.io/auth-secret", "users")], ""),
        (&[("nginx.ingress.kubernetes.io/auth-type", "")], ""),
        (&[("haproxy-ingress.github.io/auth-type", "basic")], ""),
    ] {
        assert_eq!(who(annotations), expected, "{annotations:?}");
    }
}

#[test]
fn a_login_that_cannot_be_made_closes_its_paths() {
    let (kind, name, form) = (
        nginx("auth-type"),
        nginx("auth-secret"),
        nginx("auth-secret-type"),
    );
    for (annotations, expected, reason) in [
        (
            &[(&*kind, "basic")][..],
            "UnknownUsers",
            "InvalidAnnotation",
        ),
        (
            &[(&kind, "basic"), (&name, "")],
            "UnknownUsers",
            "InvalidAnnotation",
        ),
        (
            &[(&kind, "basic"), (&name, "missing")],
            "UnknownUsers",
            "SecretNotFound",
        ),
        (
            &[(&kind, "basic"), (&name, "other")],
            "UnknownUsers",
            "InvalidSecret",
        ),
        (
            &[(&kind, "basic"), (&name, "map")],
            "UnknownUsers",
            "InvalidSecret",
        ),
        (
            &[(&kind, "basic"), (&name, "plain")],
            "UnknownUsers",
            "InvalidSecret",
        ),
        (
            &[(&kind, "digest"), (&name, "users")],
            "InvalidGuard",
            "InvalidAnnotation",
        ),
        (
            &[(&kind, "basic"), (&name, "other/users")],
            "InvalidGuard",
            "InvalidAnnotation",
        ),
        (
            &[(&kind, "basic"), (&name, "users"), (&form, "magic")],
            "InvalidGuard",
            "InvalidAnnotation",
        ),
        (
            &[("haproxy-ingress.github.io/auth-secret", "file:///etc/users")],
            "InvalidGuard",
            "InvalidAnnotation",
        ),
        (
            &[
                ("haproxy.org/auth-type", "basic"),
                ("haproxy.org/auth-secret", "map"),
            ],
            "InvalidGuard",
            "InvalidAnnotation",
        ),
        (
            &[
                ("haproxy-ingress.github.io/auth-secret", "users"),
                ("haproxy.org/auth-type", "basic-auth"),
                ("haproxy.org/auth-secret", "map"),
            ],
            "InvalidGuard",
            "InvalidAnnotation",
        ),
    ] {
        // What is supported is enforced, whoever decides to ignore what is not.
        for decision in ["refuse", "ignore"] {
            let mut annotations = annotations.to_vec();
            annotations.push(("gatelet.dev/unsupported-guards", decision));
            let (index, output) = compiled(&annotations, &[]);
            assert_eq!(met(&index, "a.example", "/"), expected, "{annotations:?}");
            let reasons = reasons(&output);
            assert!(reasons.iter().any(|(_, one)| *one == reason), "{reasons:?}");
        }
    }
}

#[test]
fn a_secret_that_goes_while_serving_closes_and_opens_again() {
    let (kind, name) = (nginx("auth-type"), nginx("auth-secret"));
    let (mut index, _) = compiled(&[(&kind, "basic"), (&name, "users")], &[]);
    assert_eq!(met(&index, "a.example", "/"), "empty");

    index.apply(delete(Kind::Secret, "users"));
    index.compile();
    assert_eq!(met(&index, "a.example", "/"), "UnknownUsers");

    index.apply(apply(secret("users", &[("auth", &format!("new:{HASH}"))])));
    index.compile();
    let access = accesses(&index, "a.example").remove(0);
    let login = access.login.as_ref().expect("a login");
    assert!(login.users.find(b"new").is_some() && login.users.find(b"ann").is_none());

    // It loses its users, or becomes something else.
    let certificate = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "users"},
        "type": "kubernetes.io/tls", "data": {"auth": STANDARD.encode(format!("a:{HASH}"))}});
    for changed in [secret("users", &[("auth", "")]), certificate] {
        index.apply(apply(changed));
        index.compile();
        assert_eq!(met(&index, "a.example", "/"), "UnknownUsers");
    }

    index.apply(apply(secret("users", &[("auth", &format!("new:{HASH}"))])));
    index.apply(Event::Refused(Kind::Secret));
    index.apply(delete(Kind::Secret, "users"));
    let output = index.compile();
    assert_eq!(met(&index, "a.example", "/"), "UnknownUsers");
    assert_eq!(reasons(&output), [("web".to_owned(), "SecretsForbidden")]);
}

#[test]
fn a_user_without_a_usable_hash_is_reported() {
    let (kind, name) = (nginx("auth-type"), nginx("auth-secret"));
    let mut index = compiled(&[(&kind, "basic"), (&name, "users")], &[]).0;
    let file = format!("ann:{HASH}\nbob:rqXexS6ZhobKA\n");
    index.apply(apply(secret("users", &[("auth", &file)])));
    let output = index.compile();
    assert_eq!(met(&index, "a.example", "/"), "empty");
    let findings = output.findings.expect("findings");
    let message = findings[0].message.to_string();
    assert!(
        message.starts_with("user \"bob\" of Secret users cannot log in"),
        "{message}"
    );
    assert!(!message.contains("rqXexS6ZhobKA"));
}

#[test]
fn every_list_of_addresses_applies() {
    let (allow, white, deny) = (
        nginx("allowlist-source-range"),
        nginx("whitelist-source-range"),
        nginx("denylist-source-range"),
    );
    for (annotations, expected) in [
        (&[(&*allow, "10.0.0.0/8")][..], "[] Allowed"),
        (&[(&white, "192.0.2.0/24")], "[] Denied"),
        (
            &[(&allow, "10.0.0.0/8"), (&white, "192.0.2.0/24")],
            "[] Denied",
        ),
        (&[(&allow, "10.0.0.0/8"), (&deny, "10.0.0.1")], "[] Denied"),
        (&[(&deny, "192.0.2.1")], ""),
        (
            &[
                ("haproxy.org/allow-list", "192.0.2.1"),
                (&allow, "10.0.0.1"),
            ],
            "[] Denied",
        ),
        (
            &[("haproxy.org/blacklist", "10.0.0.1"), (&deny, "192.0.2.1")],
            "[] Denied",
        ),
        (&[("haproxy.org/allow-list", "")], ""),
        (&[(&allow, "")], "InvalidGuard"),
        (&[(&deny, "")], "InvalidGuard"),
        (&[(&allow, "10.0.0.0/8,example.com")], "InvalidGuard"),
        (&[("haproxy.org/deny-list", "patterns/ips")], "InvalidGuard"),
    ] {
        assert_eq!(who(annotations), expected, "{annotations:?}");
    }
}

#[test]
fn any_one_of_address_and_login_is_enough_if_asked() {
    let (kind, name) = (nginx("auth-type"), nginx("auth-secret"));
    let (allow, satisfy) = (nginx("allowlist-source-range"), nginx("satisfy"));
    let all = [
        (&*kind, "basic"),
        (&*name, "users"),
        (&*allow, "10.0.0.0/8"),
    ];
    for (value, inside, outside) in [("all", true, false), ("any", false, true)] {
        let annotations = [&all[..], &[(&*satisfy, value)]].concat();
        let index = compiled(&annotations, &[]).0;
        let access = accesses(&index, "a.example").remove(0);
        let asks = |address: &str| matches!(access.entry(address.parse().ok()), Entry::Login(_));
        assert_eq!(
            (asks("10.0.0.1"), asks("192.0.2.1")),
            (inside, outside),
            "{value}"
        );
        assert!(
            access.from.contains("satisfy") == (value == "any"),
            "{}",
            access.from
        );
    }

    // It opens nothing that an unsupported guard closes.
    let url = nginx("modsecurity-snippet");
    let closed = [&all[..], &[(&*satisfy, "any"), (&*url, "http://a/")]].concat();
    assert_eq!(who(&closed), "UnsupportedGuard");
}

#[test]
fn a_service_and_its_ingress_both_decide() {
    let allow = nginx("allowlist-source-range");
    let on_service = [
        ("haproxy.org/allow-list", "192.0.2.0/24"),
        ("haproxy-ingress.github.io/auth-secret", "users"),
    ];
    let (mut index, _) = compiled(&[(&allow, "10.0.0.0/8")], &on_service);
    let accesses = accesses(&index, "a.example");
    assert_eq!(accesses.len(), 2);
    assert!(accesses[0].login.is_none() && accesses[1].login.is_some());

    index.apply(delete(Kind::Secret, "users"));
    let output = index.compile();
    assert_eq!(met(&index, "a.example", "/"), "UnknownUsers");
    let findings = output.findings.expect("findings");
    assert_eq!(
        &*findings[0].field,
        "spec.rules[0].http.paths[0].backend.service"
    );
    assert!(
        findings[0]
            .message
            .to_string()
            .contains("of Service web: Secret users")
    );

    // ingress-nginx reads none on Services.
    let (index, _) = compiled(&[], &[(&allow, "192.0.2.0/24")]);
    assert!(self::accesses(&index, "a.example").is_empty());
    let (index, _) = compiled(&[], &[("haproxy.org/allow-list", "x")]);
    assert_eq!(met(&index, "a.example", "/"), "InvalidGuard");
}

#[test]
fn a_closed_ingress_closes_its_default_backend_too() {
    let mut index = index();
    index.apply(apply(service("web")));
    let mut one = ingress("web", "a.example", "/", "web");
    one["metadata"]["annotations"] = json!({
        nginx("auth-type"): "basic", nginx("auth-secret"): "missing",
    });
    one["spec"]["defaultBackend"] = json!({"service": {"name": "web", "port": {"number": 80}}});
    index.apply(apply(one));
    index.compile();
    assert_eq!(met(&index, "a.example", "/x"), "UnknownUsers");
    index.apply(apply(secret(
        "missing",
        &[("auth", &format!("ann:{HASH}"))],
    )));
    index.compile();
    let found = index.table().host(Some("a.example")).expect("a host");
    let fallback = found.fallback().expect("a fallback");
    let steps = fallback.steps.as_ref().expect("steps");
    assert!(
        steps
            .request
            .iter()
            .any(|step| matches!(step, RequestStep::Access(_)))
    );
}

#[test]
fn objects_with_the_same_users_share_them() {
    let (kind, name) = (nginx("auth-type"), nginx("auth-secret"));
    let (mut index, _) = compiled(&[(&kind, "basic"), (&name, "users")], &[]);
    let mut other = ingress("other", "b.example", "/", "web");
    other["metadata"]["annotations"] = json!({
        &kind: "basic", &name: "users", nginx("auth-realm"): "Say \"friend\"",
    });
    index.apply(apply(other));
    index.compile();
    let logins: Vec<_> = ["a.example", "b.example"]
        .iter()
        .map(|host| {
            accesses(&index, host)
                .remove(0)
                .login
                .clone()
                .expect("a login")
        })
        .collect();
    assert!(Arc::ptr_eq(&logins[0].users, &logins[1].users));
    assert_eq!(logins[0].challenge, "Basic realm=\"\"");
    assert_eq!(logins[1].challenge, "Basic realm=\"Say \\\"friend\\\"\"");
}
