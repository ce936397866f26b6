//! Sticky sessions: a client stays at one endpoint, whatever happens to the others.

use std::collections::BTreeSet;

use super::support::{Backend, Gatelet, backend, eventually, run};

const HOST: &str = "app.example.com";
const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// Starts a gatelet whose Service `app` has an endpoint for each name.
fn start(names: &[&str], annotations: &[&str]) -> (Gatelet, Vec<Backend>) {
    let backends: Vec<Backend> = names.iter().map(|name| Backend::start(name)).collect();
    let gatelet = Gatelet::start();
    let ports: Vec<u16> = backends.iter().map(|backend| backend.port).collect();
    let manifests = format!(
        "{}{}{}",
        backend::service("app", ""),
        backend::slice("app", &ports),
        backend::ingress("app", HOST, "")
    );
    gatelet.serve(&manifests, HOST);
    let names = annotations.iter().map(|one| format!("{NGINX}{one}"));
    let names: Vec<String> = names.collect();
    let mut arguments = vec!["annotate", "ingress", "app"];
    arguments.extend(names.iter().map(String::as_str));
    gatelet.kubectl(&arguments);
    eventually("the annotations apply", || {
        let (_, cookie) = ask(&gatelet, &[]);
        let is_hash = annotations.iter().any(|one| one.starts_with("upstream"));
        (cookie.is_some() || is_hash).then_some(())
    });
    (gatelet, backends)
}

/// Returns the name of the endpoint that responds, and `Set-Cookie`.
fn ask(gatelet: &Gatelet, arguments: &[&str]) -> (String, Option<String>) {
    let mut curl = gatelet.curl(HOST, "/");
    let said = run(curl.args(["-D", "-"]).args(arguments));
    let (head, body) = said.split_once("\r\n\r\n").expect("a head");
    let cookie = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("set-cookie")
            .then(|| value.to_owned())
    });
    let name = body.lines().next().unwrap_or_default();
    (name.to_owned(), cookie)
}

/// Returns the pair of a `Set-Cookie`, as the client sends it back.
fn pair(cookie: &str) -> String {
    cookie.split(';').next().unwrap_or_default().to_owned()
}

#[test]
fn a_client_stays_at_its_endpoint_and_learns_nothing_of_it() {
    let names = ["a", "b", "c"];
    let (gatelet, backends) = start(
        &names,
        &[
            "affinity=cookie",
            "session-cookie-name=route",
            "session-cookie-max-age=60",
        ],
    );
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let (first, cookie) = ask(&gatelet, &[]);
        let cookie = cookie.expect("a cookie");
        assert!(
            cookie.ends_with("; Path=/; Max-Age=60; HttpOnly"),
            "{cookie}"
        );
        let ports = backends.iter().map(|backend| backend.port.to_string());
        assert!(
            !ports
                .chain(["127.0.0.1".to_owned()])
                .any(|part| cookie.contains(&part))
        );
        for arguments in [
            &["-b", &pair(&cookie)][..],
            &["-b", &pair(&cookie), "-d", "x"],
        ] {
            let (again, new) = ask(&gatelet, arguments);
            assert_eq!((again, new), (first.clone(), None), "{arguments:?}");
        }
        seen.insert(first);
    }
    assert_eq!(seen.len(), names.len(), "{seen:?}");

    // Over TLS and HTTP/2, and with cookies that are not ours.
    let secure = run(gatelet.curl_tls(HOST, "/").args(["--http2", "-D", "-"]));
    assert!(secure.contains("; Secure"), "{secure}");
    for forged in ["route=", "route=127.0.0.1", "route=0", "other=1"] {
        assert!(ask(&gatelet, &["-b", forged]).1.is_some(), "{forged}");
    }
    let forged = format!("route={}", "0".repeat(32));
    let (first, cookie) = ask(&gatelet, &["-b", &forged]);
    assert!(cookie.is_none());
    assert_eq!(ask(&gatelet, &["-b", &forged]).0, first);
}

#[test]
fn a_persistent_client_stays_over_new_endpoints_and_restarts() {
    let (gatelet, mut backends) = start(&["a"], &["affinity=cookie", "affinity-mode=persistent"]);
    let cookies: Vec<String> = (0..16)
        .map(|_| pair(&ask(&gatelet, &[]).1.expect("a cookie")))
        .collect();

    backends.extend(["b", "c"].map(Backend::start));
    let ports: Vec<u16> = backends.iter().map(|backend| backend.port).collect();
    gatelet.apply(&backend::slice("app", &ports));
    let stay = |gatelet: &Gatelet| {
        let mut others = BTreeSet::new();
        eventually("new clients meet all endpoints", || {
            others.insert(ask(gatelet, &[]).0);
            (others.len() == 3).then_some(())
        });
        for cookie in &cookies {
            assert_eq!(ask(gatelet, &["-b", cookie]), ("a".to_owned(), None));
        }
    };
    stay(&gatelet);
    let gatelet = gatelet.again(&[]);
    eventually("it serves again", || {
        (gatelet.status_of(HOST, "/") == 200).then_some(())
    });
    stay(&gatelet);
}

#[test]
fn the_next_endpoint_takes_the_clients_of_one_that_ends() {
    let (gatelet, backends) = start(&["a", "b"], &["affinity=cookie"]);
    let cookies: Vec<(String, String)> = (0..16)
        .map(|_| ask(&gatelet, &[]))
        .map(|(name, cookie)| (name, pair(&cookie.expect("a cookie"))))
        .collect();
    backends[0].stop();
    for (_, cookie) in &cookies {
        assert_eq!(ask(&gatelet, &["-b", cookie]), ("b".to_owned(), None));
    }

    // Its clients come back, the others have never moved.
    let _again = Backend::on("a", backends[0].port);
    eventually("it is used again", || {
        let back = cookies
            .iter()
            .all(|(name, cookie)| ask(&gatelet, &["-b", cookie]).0 == *name);
        back.then_some(())
    });
}

#[test]
fn requests_with_the_same_text_meet_the_same_endpoint() {
    let (gatelet, _backends) = start(&["a", "b", "c"], &["upstream-hash-by=$http_x_user"]);
    let of = |user: usize| {
        let field = format!("X-User: {user}");
        let names: BTreeSet<String> = (0..4).map(|_| ask(&gatelet, &["-H", &field]).0).collect();
        names
    };
    eventually("each user has one endpoint", || {
        (0..8).all(|user| of(user).len() == 1).then_some(())
    });
    let all: BTreeSet<String> = (0..24).flat_map(of).collect();
    assert_eq!(all.len(), 3, "{all:?}");
}
