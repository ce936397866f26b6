//! Compression, in front of the same backend as a real nginx.

use std::process::Command;

use super::{HOST, nginx_at_root, program};
use crate::support::{Folder, Gatelet, Nginx, backend, eventually, run};

/// The locations of the backend. LONG is a text of 2,000 bytes.
const BACKEND: &str = r#"
    location = / { return 200 ok; }
    location = /plain { default_type "text/plain; charset=utf-8"; return 200 LONG; }
    location = /json { default_type application/json; return 404 LONG; }
    location = /html { default_type text/html; return 403 LONG; }
    location = /short { default_type text/plain; return 200 short; }
    location = /image { default_type image/png; return 200 LONG; }
    location = /created { default_type text/plain; return 201 LONG; }
    location = /coded { default_type text/plain; add_header Content-Encoding br; return 200 LONG; }
    location = /vary { default_type text/plain; add_header Vary Origin; return 200 LONG; }
    location = /tagged { default_type text/plain; add_header ETag '"a"'; return 200 LONG; }
    location = /weak { default_type text/plain; add_header ETag 'W/"a"'; return 200 LONG; }
    location = /file { default_type text/plain; alias ROOT/file; }
    location = /empty { return 204; }
    location = /moved { return 302 https://b.example/; }
"#;

const REQUESTS: &[&[&str]] = &[
    &[],
    &["-H", "Accept-Encoding: gzip"],
    &["-H", "Accept-Encoding: br, GZIP;q=0.5"],
    &["-H", "Accept-Encoding: gzip;q=0"],
    &["-H", "Accept-Encoding: gzip; q=0.000, br"],
    &["-H", "Accept-Encoding: deflate, xgzip"],
    &["-H", "Accept-Encoding: gzip", "-I"],
    &["-H", "Accept-Encoding: gzip", "-0"],
    &["-H", "Accept-Encoding: gzip", "-H", "Range: bytes=0-99"],
];

/// Returns the status and the fields that compression is about, and the decoded body.
fn outcome(port: u16, path: &str, arguments: &[&str]) -> (Vec<String>, String) {
    let curl = || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "20", "-H", &format!("Host: {HOST}")]);
        curl.args(arguments);
        curl.arg(format!("http://127.0.0.1:{port}{path}"));
        curl
    };
    let names = [
        "content-encoding",
        "vary",
        "etag",
        "content-type",
        "accept-ranges",
    ];
    let head = run(curl().args(["-o", "/dev/null", "-D", "-"]));
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let lines = lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim()));
    let mut found: Vec<String> = lines
        .filter(|(name, _)| names.contains(&&**name))
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    found.sort();
    found.insert(
        0,
        head.split_whitespace()
            .nth(1)
            .unwrap_or_default()
            .to_owned(),
    );

    let is_gzip = found.iter().any(|one| one == "content-encoding: gzip");
    let decode = if is_gzip { &["--compressed"][..] } else { &[] };
    // curl shows the head instead of the body that there is not.
    let body = match arguments.contains(&"-I") {
        true => String::new(),
        false => run(curl().args(decode)),
    };
    (found, body)
}

#[test]
fn responses_are_compressed_as_by_nginx() {
    if program().is_none() {
        return;
    }
    let long: String = (0..200)
        .map(|number| format!("line {number:04}\\n"))
        .collect();
    let folder = Folder::new();
    folder.write("file", &long);
    let root = folder.path().display().to_string();
    // nginx transforms it all the same (RFC 9111 section 5.2.2.6).
    let untouched = "location = /untouched {
        default_type text/plain; add_header Cache-Control no-transform; return 200 LONG; }";
    let locations = (BACKEND.to_owned() + untouched)
        .replace("LONG", &format!("\"{long}\""))
        .replace("ROOT", &root);
    let server = Nginx::start_in(folder, &locations);

    let gatelet = Gatelet::start();
    let manifests = backend::manifests("app", HOST, server.port);
    gatelet.serve(&manifests, HOST);
    let annotations = [
        "gatelet.dev/gzip=true",
        "gatelet.dev/gzip-types=text/plain, application/json",
    ];
    for annotation in annotations {
        gatelet.kubectl(&["annotate", "ingress", "app", annotation]);
    }
    eventually("it applies", || {
        let (found, _) = outcome(gatelet.http, "/json", REQUESTS[1]);
        found
            .contains(&"content-encoding: gzip".to_owned())
            .then_some(())
    });

    let nginx = nginx_at_root(
        "gzip on; gzip_proxied any; gzip_vary on; gzip_min_length 256; gzip_comp_level 1; \
         gzip_types text/plain application/json; proxy_http_version 1.1; proxy_buffering off;",
        server.port,
    );
    let (ours, _) = outcome(gatelet.http, "/untouched", REQUESTS[1]);
    assert_eq!(ours, ["200", "content-type: text/plain"]);

    for line in BACKEND
        .lines()
        .filter_map(|line| line.split_once("location = "))
    {
        let path = line.1.split_whitespace().next().expect("a path");
        for arguments in REQUESTS {
            let ours = outcome(gatelet.http, path, arguments);
            let theirs = outcome(nginx.port, path, arguments);
            assert_eq!(ours, theirs, "{path} {arguments:?}");
        }
    }
}
