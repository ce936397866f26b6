//! The same requests to gatelet with annotations of ingress-nginx, and to a real nginx with the
//! configuration that ingress-nginx would write for them.

mod backend_tls;
mod certificates;
mod compression;
mod external;
mod fields;
mod mirror;
mod paths;
mod snippets;

use std::process::Command;

use super::support::{Backend, Folder, Gatelet, Nginx, eventually, nginx::program, run};

const HOST: &str = "app.example.com";

/// Users in each form that both read, all with the password `secret`, and lines that let nobody in.
const USERS: &[&str] = &[
    "bcrypt:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    "apr1:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0",
    "md5:$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
    "sha256:$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
    "sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "ssha:{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
    "plain:{PLAIN}secret",
    "note:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=:a note",
    "# comment:{PLAIN}secret",
    "twice:{PLAIN}first",
    "twice:{PLAIN}secret",
    "empty:",
    "double::secret",
];

/// Starts nginx with the content of a `location /`.
fn nginx_at_root(location: &str, backend: u16) -> Nginx {
    nginx_with(&format!(
        "location / {{ {location} proxy_pass http://127.0.0.1:{backend}; }}"
    ))
}

/// Starts nginx with the locations of a server.
fn nginx_with(locations: &str) -> Nginx {
    let folder = Folder::new();
    let users = folder.write("users", &(USERS.join("\n") + "\n"));
    let locations = locations.replace("USERS", &users.display().to_string());
    // As the template of ingress-nginx has it.
    let locations = format!("default_type text/html; {locations}");
    Nginx::start_in(folder, &locations)
}

/// Returns the status, the target and the challenge of a response.
fn outcome(port: u16, path: &str, arguments: &[&str]) -> String {
    let mut curl = Command::new("curl");
    let format = "%{http_code} %{redirect_url} %header{www-authenticate}";
    curl.args(["-sS", "-m", "20", "-o", "/dev/null", "-w", format]);
    curl.args(["-H", &format!("Host: {HOST}")]).args(arguments);
    run(curl.arg(format!("http://127.0.0.1:{port}{path}")))
}

/// Sends each request to both, and compares. `applied` is the first status with the annotations.
fn compare(annotations: &[&str], location: &str, applied: u16, requests: &[(&str, &[&str])]) {
    if program().is_none() {
        return;
    }
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    let lines: String = USERS.iter().map(|line| format!("    {line}\n")).collect();
    gatelet.apply(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: users}}\nstringData:\n  auth: |\n{lines}"
    ));
    gatelet.serve(&backend.manifests("app", HOST), HOST);

    let names = annotations.iter();
    let names: Vec<String> = names
        .map(|one| format!("nginx.ingress.kubernetes.io/{one}"))
        .collect();
    let mut arguments = vec!["annotate", "ingress", "app"];
    arguments.extend(names.iter().map(String::as_str));
    gatelet.kubectl(&arguments);
    eventually("the annotations apply", || {
        (gatelet.status_of(HOST, "/") == applied).then_some(())
    });

    let nginx = nginx_at_root(location, backend.port);
    for (path, arguments) in requests {
        let ours = outcome(gatelet.http, path, arguments);
        let theirs = outcome(nginx.port, path, arguments);
        assert_eq!(ours, theirs, "{annotations:?}: {path} {arguments:?}");
    }
}

#[test]
fn a_login_lets_in_whom_nginx_lets_in() {
    let users = [
        "bcrypt",
        "apr1",
        "md5",
        "sha256",
        "sha",
        "ssha",
        "plain",
        "note",
        "comment",
        "# comment",
        "twice",
        "empty",
        "double",
        "nobody",
        "",
    ];
    let logins: Vec<String> = users.iter().map(|user| format!("{user}:secret")).collect();
    let mut flags: Vec<[&str; 2]> = logins.iter().map(|login| ["-u", login]).collect();
    flags.extend([
        ["-u", "twice:first"],
        ["-u", "empty:"],
        ["-u", "sha:Secret"],
    ]);
    flags.push(["-H", "Authorization: Basic"]);
    flags.push(["-H", "Authorization: Bearer x"]);
    let mut requests: Vec<(&str, &[&str])> = vec![("/", &[])];
    requests.extend(flags.iter().map(|flags| ("/", &flags[..])));
    compare(
        &["auth-type=basic", "auth-secret=users", "auth-realm=Members"],
        "auth_basic Members; auth_basic_user_file USERS;",
        401,
        &requests,
    );
}

#[test]
fn lists_and_satisfy_decide_as_in_nginx() {
    let login = "auth_basic Members; auth_basic_user_file USERS;";
    let of_login = ["auth-type=basic", "auth-secret=users", "auth-realm=Members"];
    let (allow, deny) = (
        "allowlist-source-range=127.0.0.0/30",
        "denylist-source-range=127.0.0.2",
    );
    let mut requests: Vec<(&str, &[&str])> = Vec::new();
    for flags in [
        &["--interface", "127.0.0.1"][..],
        &["--interface", "127.0.0.2"],
        &["--interface", "127.0.0.9"],
        &["--interface", "127.0.0.1", "-u", "sha:secret"],
        &["--interface", "127.0.0.2", "-u", "sha:secret"],
        &["--interface", "127.0.0.9", "-u", "sha:secret"],
        &["--interface", "127.0.0.2", "-u", "sha:wrong"],
    ] {
        requests.push(("/", flags));
    }

    let lists = "deny 127.0.0.2; allow 127.0.0.0/30; deny all;";
    for (annotations, location, applied) in [
        (vec![allow, deny], lists.to_owned(), 200),
        (
            [&of_login[..], &[allow, deny]].concat(),
            format!("{lists} {login}"),
            401,
        ),
        (
            [&of_login[..], &[allow, deny, "satisfy=any"]].concat(),
            format!("satisfy any; {lists} {login}"),
            200,
        ),
        (
            [&of_login[..], &[deny, "satisfy=any"]].concat(),
            format!("satisfy any; deny 127.0.0.2; {login}"),
            401,
        ),
    ] {
        compare(&annotations, &location, applied, &requests);
    }
}

#[test]
fn redirects_lead_where_those_of_nginx_lead() {
    let requests: &[(&str, &[&str])] = &[("/", &[]), ("/a/b?c=d", &[]), ("/?e", &["-d", "x"])];
    compare(
        &["permanent-redirect=https://new.example.com$request_uri"],
        "return 301 https://new.example.com$request_uri;",
        301,
        requests,
    );
    compare(
        &[
            "temporal-redirect=$scheme://new.example.com/?$args",
            "temporal-redirect-code=307",
        ],
        "return 307 $scheme://new.example.com/?$args;",
        307,
        requests,
    );
    compare(
        &["app-root=/app"],
        "if ($uri = /) { return 302 $scheme://$http_host/app; }",
        302,
        requests,
    );
}
