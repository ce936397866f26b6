use http::{HeaderMap, StatusCode};

use super::*;

fn read(status: u16, body: &str) -> String {
    let status = StatusCode::from_u16(status).expect("a status");
    let reply = Reply {
        status,
        headers: HeaderMap::new(),
        body: body.to_owned().into(),
    };
    String::from_utf8(readable(&reply).to_vec()).expect("text")
}

#[test]
fn the_crate_receives_every_error_as_a_problem_document() {
    let expected = |kind: &str, detail: &str| {
        format!(r#"{{"detail":"{detail}","type":"urn:ietf:params:acme:error:{kind}"}}"#)
    };
    assert_eq!(read(502, "<html>"), expected("", "HTTP 502 Bad Gateway"));
    let quoted = r#"{
       "type": "urn:ietf:params:acme:error:badNonce",
       "detail": "old",
       "status": "400",
       "subproblems": null
    }"#;
    assert_eq!(read(400, quoted), expected("badNonce", "old"));
}

#[test]
fn the_crate_never_receives_null() {
    let order = r#"{"status": "ready", "error": null, "authorizations": [{"wildcard": null}]}"#;
    assert_eq!(
        read(200, order),
        r#"{"authorizations":[{}],"status":"ready"}"#
    );
    assert_eq!(
        read(200, "-----BEGIN CERTIFICATE-----\n"),
        "-----BEGIN CERTIFICATE-----\n"
    );
}
