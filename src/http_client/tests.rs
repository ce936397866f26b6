use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tls::LocalCa;

fn at(seconds: u64) -> Clock {
    Arc::new(move || UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

/// 2026-08-01.
const NOW: u64 = 1_785_542_400;

fn settings() -> HttpSettings {
    HttpSettings::new(at(NOW))
}

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).expect("a request")
}

/// Reads the head of a request; `None` at the end of the connection.
async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(text).ok()
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), text: &str) {
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.flush().await;
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Starts a plain-text server. `serve` receives each connection with its number.
async fn server<F, Fut>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            tokio::spawn(serve(stream, number));
        }
    });
    address
}

/// Starts a server with a certificate of the CA for `ca.test`, `localhost` and 127.0.0.1. It
/// responds with the request's head.
async fn tls_server(ca: &LocalCa) -> (SocketAddr, Arc<AtomicUsize>) {
    let issued = ca
        .issue_server(&["ca.test", "localhost"], &[[127, 0, 0, 1].into()])
        .expect("a certificate");
    let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("PEM");
    let config = ServerConfig::builder_with_provider(crate::tls::provider())
        .with_safe_default_protocol_versions()
        .expect("ring has suites for both versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a matching pair");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = connections.clone();
    let address = server(move |stream, _| {
        let (acceptor, counted) = (acceptor.clone(), counted.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            counted.fetch_add(1, Relaxed);
            while let Some(head) = head(&mut stream).await {
                say(&mut stream, &ok(&head)).await;
            }
        }
    })
    .await;
    (address, connections)
}

fn trusting(ca: &LocalCa) -> HttpSettings {
    let root = CertificateDer::from_pem_slice(ca.root_pem().as_bytes()).expect("a certificate");
    HttpSettings {
        extra_roots: vec![root],
        ..settings()
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

#[tokio::test]
async fn consecutive_requests_share_a_connection() {
    let ca = LocalCa::generate("lab").expect("a CA");
    let (address, connections) = tls_server(&ca).await;
    let http = Http::new(trusting(&ca)).expect("roots");
    for _ in 0..3 {
        let reply = http
            .send(get(&format!(
                "https://localhost:{}/dir?x=1",
                address.port()
            )))
            .await
            .expect("answered");
        let head = text(&reply).to_lowercase();
        assert!(head.starts_with("get /dir?x=1 http/1.1\r\n"), "{head}");
        assert!(
            head.contains(&format!("host: localhost:{}\r\n", address.port())),
            "{head}"
        );
        assert!(
            head.contains(&format!(
                "user-agent: gatelet/{}\r\n",
                env!("CARGO_PKG_VERSION")
            )),
            "{head}"
        );
    }
    assert_eq!(connections.load(Relaxed), 1);
}

#[tokio::test]
async fn certificates_are_verified_by_the_settings_roots_and_time() {
    let ca = LocalCa::generate("lab").expect("a CA");
    let (address, _) = tls_server(&ca).await;
    let url = format!("https://127.0.0.1:{}/", address.port());
    let stranger = Http::new(settings())
        .expect("roots")
        .send(get(&url))
        .await
        .expect_err("unknown root");
    assert!(
        matches!(&stranger, HttpError::Tls { why, .. } if why.contains("UnknownIssuer")),
        "{stranger}"
    );

    let past = HttpSettings {
        time: at(0),
        ..trusting(&ca)
    };
    let past = Http::new(past)
        .expect("roots")
        .send(get(&url))
        .await
        .expect_err("not valid in 1970");
    assert!(
        matches!(&past, HttpError::Tls { why, .. } if why.contains("not valid yet")),
        "{past}"
    );

    Http::new(trusting(&ca))
        .expect("roots")
        .send(get(&url))
        .await
        .expect("trusted");
}

#[tokio::test]
async fn a_broken_kept_connection_is_replaced_once() {
    // The first connection answers one request and breaks at the second; the others answer.
    let address = server(|mut stream, number| async move {
        while head(&mut stream).await.is_some() {
            say(&mut stream, &ok(&number.to_string())).await;
            if number == 0 {
                let _ = head(&mut stream).await;
                return;
            }
        }
    })
    .await;
    let http = Http::new(settings()).expect("roots");
    let url = format!("http://{address}/");
    assert_eq!(text(&http.send(get(&url)).await.expect("answered")), "0");
    assert_eq!(
        text(
            &http
                .send(get(&url))
                .await
                .expect("answered by a new connection")
        ),
        "1"
    );
}

#[tokio::test]
async fn a_broken_new_connection_is_an_error() {
    let address = server(|mut stream, _| async move {
        let _ = head(&mut stream).await;
    })
    .await;
    let error = Http::new(settings())
        .expect("roots")
        .send(get(&format!("http://{address}/")))
        .await
        .expect_err("dead");
    assert!(
        matches!(&error, HttpError::Broken { host, .. } if *host == address.to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn late_large_and_malformed_responses_are_errors() {
    let address = server(|mut stream, _| async move {
        let head = head(&mut stream).await.unwrap_or_default();
        if head.starts_with("GET /large") {
            say(&mut stream, &ok(&"x".repeat(65))).await;
        } else if head.starts_with("GET /other") {
            say(&mut stream, "220 mail.example.com ESMTP\r\n").await;
        } else if head.starts_with("GET /short") {
            say(
                &mut stream,
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            )
            .await;
            return;
        }
        std::future::pending::<()>().await;
    })
    .await;

    let total_timeout = Duration::from_millis(200);
    let slow = Http::new(HttpSettings {
        total_timeout,
        ..settings()
    })
    .expect("roots");
    let error = slow
        .send(get(&format!("http://{address}/never")))
        .await
        .expect_err("late");
    assert_eq!(
        error,
        HttpError::Timeout {
            host: address.to_string(),
            after: total_timeout
        }
    );

    let http = Http::new(HttpSettings {
        max_body: 64,
        ..settings()
    })
    .expect("roots");
    let error = http
        .send(get(&format!("http://{address}/large")))
        .await
        .expect_err("large");
    assert_eq!(
        error,
        HttpError::TooLarge {
            host: address.to_string(),
            limit: 64
        }
    );

    for path in ["other", "short"] {
        let error = http
            .send(get(&format!("http://{address}/{path}")))
            .await
            .expect_err("broken");
        assert!(matches!(error, HttpError::Broken { .. }), "{error}");
        assert_eq!(error.to_string().lines().count(), 1);
    }
}

#[tokio::test]
async fn redirects_are_followed_for_get_and_never_for_post() {
    let address = server(|mut stream, _| async move {
        while let Some(head) = head(&mut stream).await {
            let answer = match head.split(' ').nth(1) {
                Some("/new") => ok("here"),
                Some("/round") => {
                    "HTTP/1.1 302 Found\r\nlocation: /round\r\ncontent-length: 0\r\n\r\n".to_owned()
                }
                _ => "HTTP/1.1 301 Moved\r\nlocation: /new\r\ncontent-length: 0\r\n\r\n".to_owned(),
            };
            say(&mut stream, &answer).await;
        }
    })
    .await;
    let http = Http::new(settings()).expect("roots");
    assert_eq!(
        text(
            &http
                .send(get(&format!("http://{address}/old")))
                .await
                .expect("followed")
        ),
        "here"
    );
    assert_eq!(
        http.send(get(&format!("http://{address}/round")))
            .await
            .expect("given up")
            .status,
        302
    );

    let post = Request::post(format!("http://{address}/old"))
        .body(Bytes::new())
        .expect("a request");
    assert_eq!(http.send(post).await.expect("as it is").status, 301);
}

/// Starts a proxy that requires a password. It tunnels CONNECT, and responds to other requests with
/// their head.
async fn proxy() -> SocketAddr {
    server(|mut stream, _| async move {
        let Some(head) = head(&mut stream).await else {
            return;
        };
        // `user:p@ss`
        if !head
            .to_lowercase()
            .contains("proxy-authorization: basic dxnlcjpwqhnz\r\n")
        {
            return say(&mut stream, "HTTP/1.1 407 Who\r\ncontent-length: 0\r\n\r\n").await;
        }

        let mut words = head.split(' ');
        if words.next() == Some("CONNECT") {
            let port = words
                .next()
                .and_then(|host| host.rsplit_once(':'))
                .expect("a host with a port")
                .1;
            let mut server = TcpStream::connect(format!("127.0.0.1:{port}"))
                .await
                .expect("there");
            say(&mut stream, "HTTP/1.1 200 OK\r\n\r\n").await;
            let _ = tokio::io::copy_bidirectional(&mut stream, &mut server).await;
        } else {
            say(&mut stream, &ok(&head)).await;
        }
    })
    .await
}

fn from(variables: &[(&str, &str)]) -> Result<Proxy, HttpError> {
    Proxy::from_variables(|name| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    })
}

#[test]
fn each_variable_of_the_environment_counts() {
    let fingerprint = |known: Option<(&str, &str)>| {
        Proxy::fingerprint(|name| {
            known
                .filter(|(known, _)| *known == name)
                .map(|(_, value)| value.to_owned())
        })
    };
    let proxy = "HTTPS_PROXY";
    let all: HashSet<u64> = [
        fingerprint(None),
        fingerprint(Some((proxy, "http://one"))),
        fingerprint(Some((proxy, "http://two"))),
        fingerprint(Some(("https_proxy", "http://one"))),
        fingerprint(Some(("NO_PROXY", "ca.test"))),
        fingerprint(Some(("SSL_CERT_FILE", "/roots.pem"))),
    ]
    .into();
    assert_eq!(all.len(), 6);
}

#[tokio::test]
async fn servers_are_reached_through_proxies_with_a_password() {
    let ca = LocalCa::generate("lab").expect("a CA");
    let (address, _) = tls_server(&ca).await;
    let proxy = proxy().await;
    let url = format!("http://user:p%40ss@{proxy}");
    let proxied = from(&[("https_proxy", &url), ("HTTP_PROXY", &url)]).expect("URLs");
    assert!(
        !format!("{proxied:?}").contains("ss"),
        "no passwords in logs"
    );

    let http = Http::new(HttpSettings {
        proxy: proxied,
        ..trusting(&ca)
    })
    .expect("roots");
    let reply = http
        .send(get(&format!("https://ca.test:{}/dir", address.port())))
        .await
        .expect("through the tunnel");
    let head = text(&reply).to_lowercase();
    assert!(
        head.starts_with("get /dir ") && !head.contains("authorization"),
        "{head}"
    );

    let plain = text(
        &http
            .send(get("http://hook.test/a?b"))
            .await
            .expect("answered by the proxy"),
    );
    assert!(
        plain.starts_with("GET http://hook.test:80/a?b HTTP/1.1\r\n"),
        "{plain}"
    );

    let anonymous = from(&[("ALL_PROXY", &proxy.to_string())]).expect("a URL");
    let http = Http::new(HttpSettings {
        proxy: anonymous,
        ..trusting(&ca)
    })
    .expect("roots");
    let error = http
        .send(get("https://ca.test/"))
        .await
        .expect_err("refused");
    assert_eq!(
        error.to_string(),
        format!("the proxy {proxy} responded 407 Proxy Authentication Required")
    );
}

#[test]
fn no_proxy_exempts_names_addresses_networks_and_this_machine() {
    let all = ("https_proxy", "http://192.0.2.1:3128");
    let proxied = |not: &str, url: &str| {
        let origin = Origin::of(&url.parse().expect("a URL")).expect("a host");
        from(&[all, ("NO_PROXY", not)])
            .expect("a URL")
            .towards(&origin)
            .is_some()
    };
    assert!(proxied("", "https://acme.example/"));
    assert!(!proxied("", "https://127.0.0.9:14000/"));
    assert!(!proxied("", "https://[::1]/"));
    assert!(!proxied("", "https://LOCALHOST/"));
    assert!(
        !proxied("", "http://hook.example/"),
        "the variable is for https"
    );

    for not in [
        "*",
        "example",
        ".example",
        "*.example",
        "a.test, acme.example",
        "acme.example:443",
    ] {
        assert!(!proxied(not, "https://acme.example/"), "{not}");
    }

    for not in [
        "ample",
        "acme.example:8443",
        "sub.acme.example",
        "192.0.2.0/24",
        ",",
    ] {
        assert!(proxied(not, "https://acme.example/"), "{not}");
    }

    assert!(!proxied("10.0.0.0/8,2001:db8::/32", "https://10.1.2.3/"));
    assert!(!proxied(
        "10.0.0.0/8,2001:db8::/32",
        "https://[2001:db8::7]/"
    ));
    assert!(proxied("10.0.0.0/8", "https://11.1.2.3/"));
}

#[test]
fn an_invalid_proxy_variable_is_named_without_its_value() {
    let error = from(&[("ALL_PROXY", "socks5://user:secret@192.0.2.1")]).expect_err("not spoken");
    assert_eq!(
        error.to_string(),
        "ALL_PROXY is not the http or https URL of a proxy"
    );
}

#[tokio::test]
async fn errors_name_an_unreachable_server() {
    let http = Http::new(settings()).expect("roots");
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port")
        .local_addr()
        .expect("bound");
    let error = http
        .send(get(&format!("http://{free}/")))
        .await
        .expect_err("no listener");
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot connect to {free}: ")),
        "{error}"
    );

    for url in ["ftp://ca.test/", "/dir", "https:///"] {
        let request = Request::get(url).body(Bytes::new());
        let Ok(request) = request else { continue };
        assert_eq!(
            http.send(request).await.expect_err("no URL"),
            HttpError::Url,
            "{url}"
        );
    }
}
