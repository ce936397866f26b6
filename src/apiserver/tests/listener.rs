//! The listener itself, over TLS.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls;

struct Listener {
    identity: Identity,
    running: Running,
    signal: Signal,
}

async fn listener() -> Listener {
    let (identity, new) = Identity::load(None, &["192.0.2.7".parse().unwrap()]).unwrap();
    assert!(new);

    let cluster = Arc::new(Local::in_memory().unwrap());
    let (signal, drain) = drain::channel();
    let settings = Settings::new("127.0.0.1:0".parse().unwrap());
    let auth = identity.auth().unwrap();
    let tls = identity.server_config().unwrap();
    let running = serve(settings, cluster.clone(), cluster, tls, auth, None, drain)
        .await
        .unwrap();
    Listener {
        identity,
        running,
        signal,
    }
}

/// Returns the token of the administrator.
fn token(identity: &Identity) -> String {
    let kubeconfig = identity.kubeconfig("https://127.0.0.1:1");
    let line = kubeconfig
        .lines()
        .find(|line| line.contains("token: "))
        .unwrap();
    line.rsplit(' ').next().unwrap().to_owned()
}

/// Requests a namespace with the client certificate or a token, and returns the code and body.
async fn request(listener: &Listener, certified: bool, token: Option<&str>) -> (StatusCode, Value) {
    let kubeconfig = listener.identity.kubeconfig("https://127.0.0.1:1");
    let field = |name: &str| {
        let line = kubeconfig.lines().find(|line| line.contains(name)).unwrap();
        use base64::{Engine, engine::general_purpose::STANDARD};
        STANDARD.decode(line.rsplit(' ').next().unwrap()).unwrap()
    };

    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&field("certificate-authority-data")).unwrap())
        .unwrap();
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);

    let config = if certified {
        let chain = CertificateDer::pem_slice_iter(&field("client-certificate-data"))
            .map(Result::unwrap)
            .collect();
        config
            .with_client_auth_cert(
                chain,
                PrivateKeyDer::from_pem_slice(&field("client-key-data")).unwrap(),
            )
            .unwrap()
    } else {
        config.with_no_client_auth()
    };

    let stream = TcpStream::connect(listener.running.addr).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);

    let mut request = Request::get("/api/v1/namespaces/default").header("host", "x");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }

    let response = sender
        .send_request(request.body(Full::new(Bytes::new())).unwrap())
        .await
        .unwrap();
    let code = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    drop(sender);
    let _ended = connection.await.unwrap();
    (code, serde_json::from_slice(&body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_certificate_or_a_token_gives_access() {
    let listener = listener().await;
    assert_eq!(request(&listener, true, None).await.0, StatusCode::OK);

    let token = token(&listener.identity);
    assert_eq!(
        request(&listener, false, Some(&token)).await.0,
        StatusCode::OK
    );

    for wrong in [None, Some("wrong"), Some("")] {
        let (code, status) = request(&listener, false, wrong).await;
        assert_eq!(code, StatusCode::UNAUTHORIZED);
        assert_eq!(
            (&status["kind"], &status["reason"]),
            (&json!("Status"), &json!("Unauthorized"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_tls_does_not_affect_others() {
    let listener = listener().await;
    let mut broken = TcpStream::connect(listener.running.addr).await.unwrap();
    broken.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let silent = TcpStream::connect(listener.running.addr).await.unwrap();
    assert_eq!(request(&listener, true, None).await.0, StatusCode::OK);
    drop((broken, silent));
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_stops_the_server_and_frees_the_address() {
    let listener = listener().await;
    assert_eq!(request(&listener, true, None).await.0, StatusCode::OK);
    listener.signal.drain(Duration::from_secs(20));
    tokio::time::timeout(Duration::from_secs(20), listener.running.join)
        .await
        .unwrap()
        .unwrap();
    let free: SocketAddr = listener.running.addr;
    tokio::net::TcpListener::bind(free).await.unwrap();
}

#[test]
fn the_identity_follows_the_addresses_of_the_node() {
    let (first, _) = Identity::load(None, &[]).unwrap();
    let kept = first.to_bytes();
    let (same, changed) = Identity::load(Some(&kept), &[]).unwrap();
    assert!(same == first && !changed);

    let (moved, changed) = Identity::load(Some(&kept), &["192.0.2.9".parse().unwrap()]).unwrap();
    assert!(changed);
    assert_eq!(
        moved.kubeconfig("u"),
        first.kubeconfig("u"),
        "the kubeconfig stays good"
    );
    assert_ne!(moved, first);
    assert!(!format!("{moved:?}").contains("KEY"));
}

/// Sends a request whose body never ends, and returns the head of the response.
async fn half_a_request(addr: SocketAddr, connector: TlsConnector, token: String) -> String {
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let head = format!(
        "POST /api/v1/namespaces HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\
         content-length: 9\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();

    let mut response = vec![0; 1024];
    let length = stream.read(&mut response).await.unwrap();
    String::from_utf8_lossy(&response[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_user_is_refused_with_a_time_to_wait() {
    let listener = listener().await;
    let token = token(&listener.identity);
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(listener.identity.ca_pem().as_bytes());
    roots.add(ca.unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));

    // More than are handled and wait, fewer than there are connections.
    let mut requests = tokio::task::JoinSet::new();
    for _number in 0..200 {
        let (connector, token) = (connector.clone(), token.clone());
        requests.spawn(half_a_request(listener.running.addr, connector, token));
    }
    let refused = requests.join_next().await.unwrap().unwrap();
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(
        refused.contains("\"reason\":\"TooManyRequests\""),
        "{refused}"
    );
}
