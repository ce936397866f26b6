//! Tests with scripted responses that no CA sends on purpose.

use std::collections::HashMap;

use rustls::pki_types::UnixTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::http_client::HttpSettings;

/// The responses to each path, in order. The last one is repeated.
type Script = HashMap<&'static str, Vec<String>>;

/// Starts a server. Also returns the paths of its requests.
async fn server(script: impl FnOnce(&str) -> Script) -> (Client, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("bound"));
    let mut script = script(&base);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            let head = loop {
                read.push(stream.read_u8().await.expect("a request"));
                if let Some(head) = read.strip_suffix(b"\r\n\r\n") {
                    break String::from_utf8_lossy(head).to_lowercase();
                }
            };
            let length = head
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.lines().next()?.parse().ok());
            stream
                .read_exact(&mut vec![0; length.unwrap_or(0)])
                .await
                .expect("a body");
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let answer = match script.get_mut(&*path) {
                Some(answers) if answers.len() > 1 => answers.remove(0),
                Some(answers) => answers[0].clone(),
                None => answer(404, "", ""),
            };
            seen.lock().expect("no panic").push(path);
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });

    let http = Http::new(HttpSettings::new(Arc::new(UnixTime::now))).expect("roots");
    (
        Client::new(http, &format!("{base}/dir")).expect("a URL"),
        asked,
    )
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn directory(base: &str, account: &str) -> String {
    let body = json!({
        "newNonce": format!("{base}/nonce"),
        "newAccount": format!("{base}/{account}"),
        "newOrder": format!("{base}/order"),
    });
    answer(200, "", &body.to_string())
}

fn nonce() -> String {
    answer(200, "replay-nonce: n\r\n", "")
}

fn bad_nonce(headers: &str) -> String {
    answer(
        400,
        headers,
        r#"{"type": "urn:ietf:params:acme:error:badNonce", "detail": "old"}"#,
    )
}

fn made() -> String {
    answer(
        201,
        "location: http://ca.test/acct/1\r\n",
        r#"{"status": "valid"}"#,
    )
}

async fn account(client: &Client) -> Result<Replied<Account>, ClientError> {
    client
        .new_account(&AccountKey::generate(), &[], None, false)
        .await
}

fn times(asked: &Mutex<Vec<String>>, path: &str) -> usize {
    asked
        .lock()
        .expect("no panic")
        .iter()
        .filter(|asked| *asked == path)
        .count()
}

#[tokio::test]
async fn refused_nonces_are_replaced_at_most_twenty_times() {
    let refused = |count: usize| {
        move |base: &str| {
            let mut answers = vec![bad_nonce(""); count];
            answers.push(made());
            HashMap::from([
                ("/dir", vec![directory(base, "account")]),
                ("/nonce", vec![nonce()]),
                ("/account", answers),
            ])
        }
    };
    let (client, asked) = server(refused(NONCE_RETRIES)).await;
    assert_eq!(
        account(&client).await.expect("made").value.url,
        "http://ca.test/acct/1"
    );
    assert_eq!(
        (
            times(&asked, "/account"),
            times(&asked, "/nonce"),
            times(&asked, "/dir")
        ),
        (21, 21, 1)
    );

    let (client, asked) = server(refused(NONCE_RETRIES + 1)).await;
    assert!(account(&client).await.expect_err("given up").is("badNonce"));
    assert_eq!(times(&asked, "/account"), 21);
}

#[tokio::test]
async fn the_nonce_of_a_refusal_is_used_next() {
    let (client, asked) = server(|base| {
        HashMap::from([
            ("/dir", vec![directory(base, "account")]),
            ("/nonce", vec![nonce()]),
            (
                "/account",
                vec![bad_nonce("replay-nonce: better\r\n"), made()],
            ),
        ])
    })
    .await;
    account(&client).await.expect("made");
    assert_eq!(times(&asked, "/nonce"), 1);
}

#[tokio::test]
async fn a_ca_without_nonces_is_an_error() {
    for headers in [
        "".to_owned(),
        "replay-nonce:\r\n".to_owned(),
        format!("replay-nonce: {}\r\n", "n".repeat(513)),
    ] {
        let nonce = answer(200, &headers, "");
        let (client, _) = server(|base| {
            HashMap::from([
                ("/dir", vec![directory(base, "account")]),
                ("/nonce", vec![nonce]),
            ])
        })
        .await;
        assert_eq!(
            account(&client).await.expect_err("no nonce").to_string(),
            "no nonce (HTTP 200): "
        );
    }
}

#[tokio::test]
async fn a_moved_resource_is_found_in_the_new_directory() {
    let (client, asked) = server(|base| {
        HashMap::from([
            ("/dir", vec![directory(base, "old"), directory(base, "new")]),
            ("/nonce", vec![nonce()]),
            ("/new", vec![made()]),
        ])
    })
    .await;
    // Spawn a task, as the callers do.
    tokio::spawn(async move { account(&client).await })
        .await
        .expect("no panic")
        .expect("made at its new place");
    assert_eq!(
        (
            times(&asked, "/old"),
            times(&asked, "/new"),
            times(&asked, "/dir")
        ),
        (1, 1, 2)
    );
}

#[tokio::test]
async fn malformed_successes_differ_from_refusals() {
    for (answered, expected) in [
        (
            answer(201, "", r#"{"status": "valid"}"#),
            r#"no Location (HTTP 201): {"status": "valid"}"#,
        ),
        (
            answer(200, "location: x\r\n", "<html>\nlog in"),
            "no account (HTTP 200): <html> log in",
        ),
        (
            answer(302, "location: x\r\n", ""),
            "neither a success nor an error (HTTP 302): ",
        ),
    ] {
        let (client, _) = server(|base| {
            HashMap::from([
                ("/dir", vec![directory(base, "account")]),
                ("/nonce", vec![nonce()]),
                ("/account", vec![answered]),
            ])
        })
        .await;
        assert_eq!(
            account(&client).await.expect_err("nonsense").to_string(),
            expected
        );
    }

    let (client, _) =
        server(|base| HashMap::from([("/dir", vec![directory(base, "account")])])).await;
    let error = client
        .renewal_info("a.b")
        .await
        .expect_err("not in the directory");
    assert_eq!(error.to_string(), "the CA does not offer renewalInfo");
}

#[test]
fn a_ca_with_https_cannot_send_http_urls() {
    let http = Http::new(HttpSettings::new(Arc::new(UnixTime::now))).expect("roots");
    let client = Client::new(http, "https://ca.test/dir").expect("a URL");
    client.checked("https://other.test/order/1").expect("fine");
    for url in ["http://ca.test/order/1", "/order/1", "ftp://ca.test/", ""] {
        assert_eq!(
            client.checked(url).expect_err("not fine").kind,
            ErrorKind::Transport(HttpError::Url),
            "{url}"
        );
    }
}
