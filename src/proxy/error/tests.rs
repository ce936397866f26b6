use super::*;

fn format(name: &'static str, value: &'static str) -> ErrorFormat {
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_static(value));
    ErrorFormat::of(&headers)
}

#[test]
fn a_response_is_text_unless_json_is_accepted() {
    let error = Error::us(Kind::Unavailable("no endpoint"));
    let text = error.response(&ErrorFormat::default());
    assert_eq!(text.status(), 503);
    assert_eq!(text.body(), "503 Service Unavailable: no endpoint\n");
    let page = error.response(&format("accept", "text/html,application/json;q=0.5"));
    assert_eq!(page.headers()["content-type"], "text/plain; charset=utf-8");
    let json = error.response(&format("accept", "application/json"));
    assert_eq!(json.headers()["content-type"], "application/json");
    let value: serde_json::Value = serde_json::from_slice(json.body()).unwrap();
    assert_eq!(value["status"], 503);
    assert_eq!(value["reason"], "no endpoint");
}

#[test]
fn grpc_gets_its_status_without_a_body() {
    let asked = format("content-type", "application/grpc+proto");

    for (kind, status) in [
        (Kind::NoRoute, "12"),
        (Kind::BadRequest("bad Host"), "13"),
        (Kind::Unavailable("no endpoint"), "14"),
        (Kind::GatewayTimeout("connect"), "14"),
        (Kind::BodyTooLarge, "8"),
    ] {
        let response = Error::us(kind).response(&asked);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(response.headers()["grpc-status"], status, "{kind:?}");
        assert!(response.body().is_empty());
    }
    assert_eq!(
        Error::us(Kind::NoRoute)
            .response(&format("content-type", "application/grpc-web"))
            .status(),
        404
    );
}

#[test]
fn the_connection_closes_where_framing_is_in_doubt_only() {
    let closes = |kind| {
        Error::client(kind)
            .response(&ErrorFormat::default())
            .headers()
            .contains_key(CONNECTION)
    };
    assert!(closes(Kind::BadRequest("bare LF in head")));
    assert!(closes(Kind::BodyTooLarge));
    assert!(!closes(Kind::NoRoute));
    assert!(!closes(Kind::BadGateway("upstream broke off")));
}
