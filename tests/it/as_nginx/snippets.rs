//! Configuration of nginx in annotations: the same text in a `location` of a real nginx.

use std::process::Command;

use super::{HOST, nginx_at_root, nginx_with, program};
use crate::support::{Backend, Gatelet, eventually, run};

/// The requests that each snippet is tried with.
const REQUESTS: &[&[&str]] = &[
    &[],
    &["-X", "POST"],
    &["-H", "User-Agent: GoogleBot/2"],
    &["-H", "X-Key: a b"],
    &["-H", "X-Key: 0"],
    &["-H", "X-User: eve"],
    &["-H", "X-Some: one"],
    &["-b", "off=1"],
    &["--interface", "127.0.0.2"],
    &["--interface", "127.0.0.9"],
    &["-H", "Authorization: Bearer x"],
];

const SNIPPETS: &[&str] = &[
    "add_header X-Out \"a b\" always;\nadd_header X-Other c;\n",
    "proxy_hide_header X-Name;\nproxy_hide_header Date;\n",
    "proxy_set_header X-User $http_x_some;\nproxy_set_header X-Key \"\";\n",
    "proxy_set_header X-User \"$request_method of $remote_addr\";\n",
    "proxy_set_header Authorization \"\";\n",
    "deny 127.0.0.2;\nallow 127.0.0.0/30;\ndeny all;\n",
    "deny 127.0.0.2;\n",
    "deny 127.0.0.2;\nallow all;\n",
    "deny all;\n",
    "return 403;\n",
    "return 410;\n",
    "return 301 https://b.example$request_uri;\n",
    "if ($http_user_agent ~* \"(bot|spider)\") {\n  return 403;\n}\n",
    "if ($http_user_agent ~ bot) { return 403; }\n",
    "if ($http_user_agent !~* \"^googlebot/[0-9]{1,2}$\") { return 404; }\n",
    "if ($http_x_key = \"a b\") { return 429; }\n",
    "if ($http_x_key != \"a b\") { return 401; }\n",
    "if ($http_x_key) { return 403; }\n",
    "if ($cookie_off) { return 503; }\n",
    "if ($request_method !~ ^(GET|HEAD)$) { return 405; }\n",
    "default_type text/plain;\nreturn 200 \"a $request_method\\n\";\n",
    "if ($http_x_key) { return 418 \"no $http_x_key\"; }\n",
    "if ($http_x_key) { return 204; }\n",
    "if ($http_x_some) { return 302 https://b.example/?from=$scheme; }\nreturn 403;\n",
    "# nothing\n",
];

/// Those of a server with the rules `/`, `/a/b` and `Exact /own`.
const OF_SERVERS: &[&str] = &[
    "location /a { deny all; }\n",
    "location ^~ /a { return 403; }\n",
    "location = /a/b/c { return 404; }\n",
    "location ~* \\.(PHP|git)(/|$) { return 410; }\n",
    "location ~ ^/own$ { deny all; access_log off; }\n",
    "location = /robots.txt {\n  default_type text/plain;\n  return 200 \"User-agent: *\\n\";\n}\n",
    "location /a {\n  if ($http_x_key) { return 403; }\n  return 301 https://b.example/;\n}\n",
    "location /a {\n  return 301 https://b.example$request_uri;\n}\n",
    "if ($http_user_agent ~* bot) { return 403; }\nlocation /a/b { return 404; }\n",
    "if ($uri ~ \"^/a,\") { return 404; }\n",
    "deny 127.0.0.2;\n",
    "allow 127.0.0.0/30;\ndeny all;\n",
    "proxy_hide_header X-Name;\n",
    "add_header X-Out \"a b\" always;\n",
    "proxy_set_header X-Key none;\nproxy_set_header Host b.example;\n",
];

/// The paths that these are tried with.
const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/bc",
    "/ab",
    "/own",
    "/own/x",
    "//a/x.php",
    "/x/%2egit/config",
    "/x%2EGIT",
    "/robots.txt",
    "/a%2Cb",
];

/// Returns the status, the target of a redirect, and the fields that the snippets change, of the
/// response and of the request that the backend sees.
fn outcome(port: u16, path: &str, arguments: &[&str]) -> Vec<String> {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "-m",
        "20",
        "-i",
        "-w",
        "\nredirect: %{redirect_url}\n",
    ]);
    curl.args(["-H", &format!("Host: {HOST}")]).args(arguments);
    let text = run(curl.arg(format!("http://127.0.0.1:{port}{path}")));

    let status = text.split_whitespace().nth(1).unwrap_or_default();
    let names = [
        "content-type",
        "x-out",
        "x-other",
        "x-name",
        "x-user",
        "x-key",
        "x-some",
        "authorization",
        "redirect",
    ];
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    let lines = lines.map(|(name, value)| (name.to_ascii_lowercase(), value));
    // Pages of errors are of another type here.
    let is_own = matches!(status, "200" | "204" | "418");
    let lines =
        lines.filter(|(name, _)| names.contains(&&**name) && (is_own || name != "content-type"));
    let mut found: Vec<String> = lines
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    found.sort();
    found.insert(0, status.to_owned());
    found
}

#[test]
fn snippets_do_what_they_do_in_nginx() {
    if program().is_none() {
        return;
    }
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    for (number, snippet) in SNIPPETS.iter().enumerate() {
        // The finding shows when each applies.
        let seen = format!("add_header X-Number {number} always;\n");
        let lines: Vec<String> = (seen + snippet)
            .lines()
            .map(|line| format!("      {line}\n"))
            .collect();
        let manifests = backend.manifests("app", HOST).replace(
            "kind: Ingress\nmetadata: {name: app}",
            &format!(
                "kind: Ingress\nmetadata:\n  name: app\n  annotations:\n    \
                 nginx.ingress.kubernetes.io/configuration-snippet: |\n{}",
                lines.concat()
            ),
        );
        gatelet.apply(&manifests);
        eventually(&format!("the snippet {snippet:?} applies"), || {
            let findings = gatelet.status()["findings"].to_string();
            let is_seen = findings.contains(&format!("X-Number {number} "));
            is_seen.then_some(())
        });

        let nginx = nginx_at_root(snippet, backend.port);
        for arguments in REQUESTS {
            let ours = outcome(gatelet.http, "/x?y=1", arguments);
            let theirs = outcome(nginx.port, "/x?y=1", arguments);
            assert_eq!(ours, theirs, "{snippet} with {arguments:?}");
        }
    }
}

#[test]
fn snippets_of_servers_do_what_they_do_in_nginx() {
    if program().is_none() {
        return;
    }
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    // As the template of ingress-nginx has these rules, each with fields of its own.
    let proxy = format!(
        "proxy_set_header X-Real-IP $remote_addr; proxy_pass http://127.0.0.1:{};",
        backend.port
    );
    let rules = format!(
        "location = /own {{ {proxy} }}\nlocation /a/b/ {{ {proxy} }}\n\
         location = /a/b {{ {proxy} }}\nlocation / {{ {proxy} }}\n"
    );
    for (number, snippet) in OF_SERVERS.iter().enumerate() {
        let seen = format!("add_header X-Number {number} always;\n");
        let lines: Vec<String> = (seen.clone() + snippet)
            .lines()
            .map(|line| format!("      {line}\n"))
            .collect();
        let manifests = backend.manifests("app", HOST).replace(
            "kind: Ingress\nmetadata: {name: app}",
            &format!(
                "kind: Ingress\nmetadata:\n  name: app\n  annotations:\n    \
                 nginx.ingress.kubernetes.io/ssl-redirect: \"false\"\n    \
                 nginx.ingress.kubernetes.io/server-snippet: |\n{}",
                lines.concat()
            ),
        );
        let (start, rest) = manifests.split_once("paths: [").expect("rules");
        let (rule, end) = rest.split_once("]}\n").expect("the end of the rules");
        let of = |path: &str| rule.replace("path: /, pathType: Prefix", path);
        let all = [
            of("path: /, pathType: Prefix"),
            of("path: /a/b, pathType: Prefix"),
            of("path: /own, pathType: Exact"),
        ];
        gatelet.apply(&format!("{start}paths: [{}]}}\n{end}", all.join(", ")));
        eventually(&format!("the snippet {snippet:?} applies"), || {
            let findings = gatelet.status()["findings"].to_string();
            let is_seen = findings.contains(&format!("X-Number {number} "));
            is_seen.then_some(())
        });

        let nginx = nginx_with(&format!("{seen}{snippet}{rules}"));
        for path in PATHS {
            for arguments in REQUESTS {
                let ours = outcome(gatelet.http, path, arguments);
                let theirs = outcome(nginx.port, path, arguments);
                assert_eq!(ours, theirs, "{snippet} with {path} {arguments:?}");
            }
        }
    }
}

#[test]
fn a_snippet_that_is_not_understood_closes_its_paths() {
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    gatelet.serve(&backend.manifests("app", HOST), HOST);
    let snippet = "nginx.ingress.kubernetes.io/configuration-snippet=auth_request /check;";
    gatelet.kubectl(&["annotate", "ingress", "app", snippet]);
    eventually("it is closed", || {
        (gatelet.status_of(HOST, "/") == 503).then_some(())
    });
    let before = backend.count();
    for path in ["/", "//", "/%2e", "/X?y"] {
        assert_eq!(gatelet.status_of(HOST, path), 503, "{path}");
    }
    assert_eq!(backend.count(), before);
    let findings = gatelet.status()["findings"].to_string();
    assert!(findings.contains("auth_request /check"), "{findings}");
}
