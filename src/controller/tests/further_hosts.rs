//! Further hosts, and redirects from paths without a slash.

use super::{
    paths::{A, B, compiled, with_paths},
    *,
};

const ALIAS: &str = "nginx.ingress.kubernetes.io/server-alias";
const WWW: &str = "nginx.ingress.kubernetes.io/from-to-www-redirect";

/// Returns the target of the redirect that a request meets.
fn redirected(index: &Index, host: &str, path: &str) -> Option<String> {
    let found = index.table().find(Some(host), path, &GET)?;
    let Action::Redirect(redirect) = &found.route.action else {
        return None;
    };
    let url = crate::routing::RequestUrl {
        https: false,
        host,
        port: 80,
        https_port: 443,
        path,
        query: Some("q"),
    };
    Some(format!(
        "{} {}",
        redirect.status.as_u16(),
        redirect.location(url)
    ))
}

#[test]
fn another_name_follows_all_rules_of_its_host() {
    let mut index = index();
    let mut one = with_paths(&mut index, "one", &[("/", "Prefix", "a")]);
    one["metadata"]["annotations"] = json!({ALIAS: "b.example, *.c.example,a.example"});
    index.apply(apply(one.clone()));
    assert!(compiled(&mut index).is_empty());
    for host in ["a.example", "b.example", "x.c.example"] {
        assert_eq!(met(&index, host, "/x"), A, "{host}");
    }
    assert_eq!(met(&index, "c.example", "/x"), "404");

    // A rule of another Ingress for the host is one for the name, too.
    let two = with_paths(&mut index, "two", &[("/two", "Prefix", "b")]);
    index.apply(apply(two));
    assert!(compiled(&mut index).is_empty());
    assert_eq!(met(&index, "b.example", "/two"), B);
    index.apply(delete(Kind::Ingress, "two"));
    compiled(&mut index);
    assert_eq!(met(&index, "b.example", "/two"), A);

    one["metadata"]["annotations"] = json!({});
    index.apply(apply(one));
    compiled(&mut index);
    assert_eq!(met(&index, "b.example", "/x"), "404");
}

#[test]
fn a_rule_for_a_name_takes_it_from_the_other() {
    let mut index = index();
    let mut one = with_paths(&mut index, "one", &[("/", "Prefix", "a")]);
    one["metadata"]["annotations"] = json!({ALIAS: "b.example", WWW: "true"});
    index.apply(apply(one));
    compiled(&mut index);
    for host in ["b.example", "www.a.example"] {
        let mut own = with_paths(&mut index, "own", &[("/own", "Prefix", "b")]);
        own["spec"]["rules"][0]["host"] = host.into();
        index.apply(apply(own));
        let findings = compiled(&mut index);
        let [(name, "HostTaken", message)] = &findings[..] else {
            panic!("{findings:?}")
        };
        assert_eq!(name, "one");
        assert!(
            message.contains("the host of a rule of Ingress default/own"),
            "{message}"
        );
        assert_eq!(met(&index, host, "/x"), "404");
        assert_eq!(met(&index, host, "/own"), B);
    }
}

#[test]
fn names_with_and_without_www_are_redirected() {
    let mut index = index();
    let mut one = with_paths(&mut index, "one", &[("/", "Prefix", "a")]);
    one["metadata"]["annotations"] = json!({WWW: "true"});
    let rule = one["spec"]["rules"][0].clone();
    let rules = one["spec"]["rules"].as_array_mut().expect("a list");
    for host in ["www.b.example", "*.c.example"] {
        let mut further = rule.clone();
        further["host"] = host.into();
        rules.push(further);
    }
    index.apply(apply(one));
    assert!(compiled(&mut index).is_empty());
    for (host, expected) in [
        ("www.a.example", Some("308 http://a.example/x?q")),
        ("b.example", Some("308 http://www.b.example/x?q")),
        ("a.example", None),
        ("www.c.example", None),
        ("c.example", None),
    ] {
        assert_eq!(
            redirected(&index, host, "/x").as_deref(),
            expected,
            "{host}"
        );
    }
}

#[test]
fn a_path_that_ends_with_a_slash_is_reached_without_it() {
    let mut index = index();
    let one = with_paths(
        &mut index,
        "one",
        &[
            ("/", "Prefix", "a"),
            ("/dir/", "ImplementationSpecific", "b"),
            ("/exact/", "ImplementationSpecific", "b"),
            ("/exact", "Exact", "a"),
            ("/start/", "ImplementationSpecific", "b"),
            ("/start", "ImplementationSpecific", "a"),
            ("/prefix/", "Prefix", "b"),
        ],
    );
    index.apply(apply(one));
    assert!(compiled(&mut index).is_empty());
    let target = redirected(&index, "a.example", "/dir");
    assert_eq!(target.as_deref(), Some("301 http://a.example/dir/?q"));
    for (path, expected) in [
        ("/dir/x", B),
        ("/dirs", A),
        ("/exact", A),
        ("/start", A),
        ("/prefix", B),
    ] {
        assert_eq!(met(&index, "a.example", path), expected, "{path}");
    }
}

#[test]
fn a_closed_ingress_closes_its_further_hosts() {
    let mut index = index();
    let mut one = with_paths(&mut index, "one", &[("/", "Prefix", "a")]);
    one["metadata"]["annotations"] = json!({
        ALIAS: "b.example",
        WWW: "true",
        "nginx.ingress.kubernetes.io/auth-type": "digest",
        "nginx.ingress.kubernetes.io/auth-secret": "users",
    });
    index.apply(apply(one));
    compiled(&mut index);
    let closed = met(&index, "a.example", "/");
    assert_ne!(closed, A);
    for host in ["b.example", "www.a.example"] {
        assert_eq!(met(&index, host, "/"), closed, "{host}");
    }
}

#[test]
fn expressions_of_hosts_come_behind_the_hosts_of_rules() {
    const ALIAS: &str = "haproxy-ingress.github.io/server-alias-regex";
    const FROM: &str = "haproxy-ingress.github.io/redirect-from-regex";
    let mut index = index();
    let mut one = with_paths(&mut index, "one", &[("/", "Prefix", "a")]);
    one["metadata"]["annotations"] =
        json!({ALIAS: "^[a-z]+[.]alias[.]example$", FROM: "[.]old[.]example$"});
    index.apply(apply(one.clone()));
    let mut two = with_paths(&mut index, "two", &[("/two", "Prefix", "b")]);
    two["spec"]["rules"][0]["host"] = "own.alias.example".into();
    index.apply(apply(two));
    assert!(compiled(&mut index).is_empty());

    assert_eq!(met(&index, "x.alias.example", "/x"), A);
    assert_eq!(met(&index, "1.alias.example", "/x"), "404");
    assert_eq!(met(&index, "own.alias.example", "/two"), B);
    assert_eq!(met(&index, "own.alias.example", "/x"), "404");
    let to = redirected(&index, "x.old.example", "/x");
    assert_eq!(to.as_deref(), Some("302 http://a.example/x?q"));

    // The rules are those of the host, also after an edit.
    one["spec"]["rules"][0]["http"]["paths"][0]["path"] = "/only".into();
    index.apply(apply(one.clone()));
    compiled(&mut index);
    assert_eq!(met(&index, "x.alias.example", "/only"), A);
    assert_eq!(met(&index, "x.alias.example", "/x"), "404");

    one["metadata"]["annotations"] = json!({});
    index.apply(apply(one));
    compiled(&mut index);
    assert_eq!(met(&index, "x.alias.example", "/only"), "404");
    assert_eq!(redirected(&index, "x.old.example", "/x"), None);
}
