use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::*;

fn reply(status: u16, body: impl Into<Bytes>) -> Reply {
    let mut headers = HeaderMap::new();
    headers.insert(
        "date",
        HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"),
    );
    headers.insert("retry-after", HeaderValue::from_static("7"));
    Reply {
        status: StatusCode::from_u16(status).expect("a status"),
        headers,
        body: body.into(),
    }
}

#[test]
fn a_problem_is_reported_in_the_words_of_the_ca() {
    let body = r#"{
       "type": "urn:ietf:params:acme:error:rejectedIdentifier",
       "detail": "Some names\nare refused",
       "status": 499,
       "subproblems": [
           {
               "type": "urn:ietf:params:acme:error:caa",
               "detail": "forbidden",
               "identifier": {"type": "dns", "value": "a.test"}
           },
           {"type": "about:blank", "detail": "odd"}
       ]
    }"#;
    let error = ClientError::refused(&reply(403, body));
    assert!(error.is("rejectedIdentifier"));
    assert_eq!(
        (error.status(), error.retry_after, error.date),
        (
            Some(403),
            Some(Duration::from_secs(7)),
            Some(UnixSeconds(784_111_777))
        )
    );
    assert_eq!(
        error.to_string(),
        "Some names are refused (rejectedIdentifier); a.test: forbidden (caa); odd"
    );
}

#[test]
fn an_error_page_becomes_a_problem_with_its_status() {
    for body in [
        "",
        "<html>Bad Gateway</html>",
        "[]",
        "{}",
        "null",
        r#"{"detail": 5}"#,
        "{\"detail\": \"\u{1}\"}",
    ] {
        let error = ClientError::refused(&reply(502, body));
        assert_eq!(error.to_string(), "HTTP 502 Bad Gateway", "{body}");
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    }

    let deep = ClientError::refused(&reply(500, "[".repeat(100_000)));
    assert_eq!(deep.to_string(), "HTTP 500 Internal Server Error");
}

#[test]
fn texts_of_a_ca_are_bounded_and_on_one_line() {
    let long = format!(
        r#"{{"type": "{0}", "detail": "{0}\u0007\r\n{0}"}}"#,
        "x".repeat(100_000)
    );
    let text = ClientError::refused(&reply(400, long)).to_string();
    assert!(text.len() < 2 * WORDS && text.lines().count() == 1);

    let page = ClientError::nonsense(&reply(200, vec![0xff; 100_000]), "no JSON");
    assert!(page.to_string().len() <= "no JSON (HTTP 200): ".len() + HEAD);

    let moved = ClientError::refused(&reply(308, ""));
    assert_eq!(
        moved.to_string(),
        "neither a success nor an error (HTTP 308): "
    );
}
