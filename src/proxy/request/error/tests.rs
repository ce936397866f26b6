use super::*;

fn request(name: &str, value: &str) -> Fields {
    let mut fields = Fields::default();
    fields.push(name.as_bytes(), value.as_bytes());
    fields
}

/// Returns status, content type and body of the response to a request with this field.
fn response(error: &Error, name: &str, value: &str) -> (u16, String, String) {
    let (head, body) = error.response(&request(name, value));
    let content_type = head.fields.get(FieldName::ContentType).unwrap_or_default();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (head.status.as_u16(), text(content_type), text(&body))
}

#[test]
fn a_response_is_text_unless_json_is_accepted() {
    let error = Error::us(Kind::Unavailable("no endpoint"));
    let text = "503 Service Unavailable: no endpoint\n";
    for accept in ["", "*/*", "text/html,application/json;q=0.5"] {
        let expected = (503, "text/plain; charset=utf-8".to_owned(), text.to_owned());
        assert_eq!(response(&error, "Accept", accept), expected, "{accept}");
    }

    let (status, content_type, body) = response(&error, "accept", "application/json");
    assert_eq!((status, &*content_type), (503, "application/json"));
    let value: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(value["status"], 503);
    assert_eq!(value["reason"], "no endpoint");
}

#[test]
fn grpc_gets_its_status_without_a_body() {
    let grpc = request("content-type", "application/grpc+proto");
    for (kind, status) in [
        (Kind::NoRoute, "12"),
        (Kind::BadRequest("bad Host"), "13"),
        (Kind::Unavailable("no endpoint"), "14"),
        (Kind::GatewayTimeout("connect"), "14"),
        (Kind::BodyTooLarge, "8"),
    ] {
        let (head, body) = Error::us(kind).response(&grpc);
        assert_eq!(head.status, 200);
        let map = head.into_http2();
        assert_eq!(map["content-type"], "application/grpc");
        assert_eq!(map["grpc-status"], status, "{kind:?}");
        assert!(body.is_empty());
    }

    let web = response(
        &Error::us(Kind::NoRoute),
        "content-type",
        "application/grpc-web",
    );
    assert_eq!(web.0, 404);
}

#[test]
fn the_connection_closes_where_framing_is_in_doubt_only() {
    let closes = |kind| Error::client(kind).response(&Fields::default()).0.close;
    assert!(closes(Kind::BadRequest("bare LF in head")));
    assert!(closes(Kind::BodyTooLarge));
    assert!(!closes(Kind::NoRoute));
    assert!(!closes(Kind::BadGateway("upstream broke off")));
}
