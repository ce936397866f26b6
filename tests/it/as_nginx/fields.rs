//! Fields of responses that are rewritten.

use std::{
    io::{BufReader, Write},
    net::TcpListener,
    process::Command,
    thread,
};

use super::{HOST, nginx_at_root, program};
use crate::support::{Gatelet, backend, eventually, run};

/// Responds to every request with these fields, and returns the port.
fn fixed(fields: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().expect("a handle"));
            if backend::head(&mut reader).is_some() {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n{fields}\r\n"
                );
                let _ = stream.write_all(head.as_bytes());
            }
        }
    });
    port
}

/// Returns the fields of a response that may be rewritten, in their order.
fn fields(port: u16) -> Vec<String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "20", "-i", "-H", &format!("Host: {HOST}")]);
    let text = run(curl.arg(format!("http://127.0.0.1:{port}/")));
    let mut found: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| ["set-cookie", "location", "refresh"].contains(&&**name))
        // nginx puts its own port into the targets of redirects that it makes absolute.
        .map(|(name, value)| format!("{name}: {}", value.replace(&format!(":{port}"), "")))
        .collect();
    found.sort();
    found
}

#[test]
fn cookies_and_redirects_are_rewritten_as_by_nginx() {
    if program().is_none() {
        return;
    }
    for response in [
        "Set-Cookie: a=1; Domain=inside.example; Path=/app/x; Secure\r\n",
        "Set-Cookie: a=1; domain=.INSIDE.example\r\nSet-Cookie: b=2; path=/other\r\n",
        "Set-Cookie: a=1\r\nSet-Cookie: b=2; path=/app/; httponly\r\n",
        "Location: http://inside.example/x?y=1\r\n",
        "Location: https://inside.example/x\r\nRefresh: 5; url=http://inside.example/z\r\n",
        "Location: /x\r\n",
        "Refresh: 5\r\n",
    ] {
        let port = fixed(response);
        let gatelet = Gatelet::start();
        let ingress = backend::ingress("app", HOST, "").replace(
            "metadata: {name: app}",
            "metadata:
  name: app
  annotations:
    nginx.ingress.kubernetes.io/proxy-cookie-domain: inside.example outside.example
    nginx.ingress.kubernetes.io/proxy-cookie-path: /app/ /
    nginx.ingress.kubernetes.io/proxy-redirect-from: http://inside.example/
    nginx.ingress.kubernetes.io/proxy-redirect-to: https://outside.example/in/",
        );
        let service = backend::service("app", "") + &backend::slice("app", &[port]);
        gatelet.apply(&(service + &ingress));
        eventually("it is served", || {
            (gatelet.status_of(HOST, "/") == 200).then_some(())
        });

        let nginx = nginx_at_root(
            "proxy_cookie_domain inside.example outside.example; proxy_cookie_path /app/ /;
             proxy_redirect http://inside.example/ https://outside.example/in/;",
            port,
        );
        assert_eq!(fields(gatelet.http), fields(nginx.port), "{response}");
    }
}
