use super::*;

#[test]
fn words_that_are_not_known_are_kept() {
    let order = r#"{"status": "on-hold", "expires": "soon", "identifiers": [{"type": "permanent-identifier", "value": "x"},
        {"type": "ip", "value": "2001:db8::1"}, {"type": "ip", "value": "home"}], "authorizations": [], "finalize": "f",
        "extra": {"a": 1}}"#;
    let order: Order = serde_json::from_str(order).expect("an order");
    assert_eq!(order.status, Status::Other("on-hold".to_owned()));
    assert_eq!(order.status.to_string(), "on-hold");
    assert_eq!(order.expires, None);
    let named: Vec<_> = order.identifiers.iter().map(ToString::to_string).collect();
    assert_eq!(named, ["permanent-identifier:x", "2001:db8::1", "ip:home"]);
}

#[test]
fn every_status_is_read_as_it_is_written() {
    for (word, status) in Status::WORDS {
        assert_eq!(serde_json::from_str::<Status>(&format!("{word:?}")).expect("a word"), status);
        assert_eq!(status.to_string(), word);
    }
}

#[test]
fn an_authorization_keeps_what_its_challenges_say() {
    let text = r#"{"status": "pending", "expires": "2026-08-01T00:00:00Z", "identifier": {"type": "dns", "value": "a.test"},
        "wildcard": true, "challenges": [
        {"type": "dns-persist-01", "url": "c1", "status": "pending", "accounturi": "https://ca.test/acct/1",
         "issuer-domain-names": ["ca.test", "ca.example"]},
        {"type": "http-01", "url": "c2", "token": "t", "status": "invalid", "validated": "2026-07-31T23:59:59Z",
         "error": {"type": "urn:ietf:params:acme:error:connection", "detail": "refused"}}]}"#;
    let read: Authorization = serde_json::from_str(text).expect("an authorization");
    assert_eq!((read.expires, read.wildcard), (Some(1_785_542_400), true));
    let [persist, http] = &*read.challenges else { panic!("two challenges: {read:?}") };
    assert_eq!(persist.issuer_domain_names, ["ca.test", "ca.example"]);
    assert_eq!(persist.account_uri.as_deref(), Some("https://ca.test/acct/1"));
    assert_eq!(http.token.as_deref(), Some("t"));
    assert_eq!(http.error.as_ref().map(ToString::to_string).as_deref(), Some("refused (connection)"));
}

#[test]
fn a_renewal_window_must_end_after_it_begins() {
    let window = |start: &str, end: &str| {
        let text = format!(r#"{{"suggestedWindow": {{"start": "{start}", "end": "{end}"}}, "explanationURL": "e"}}"#);
        serde_json::from_str::<RenewalInfo>(&text).ok()
    };
    let (early, late) = ("2026-08-01T00:00:00Z", "2026-08-01T02:00:01.5+02:00");
    let read = window(early, late).expect("a window");
    assert_eq!((read.start, read.end, read.explanation_url.as_deref()), (1_785_542_400, 1_785_542_401, Some("e")));
    assert_eq!(window(late, early), None);
    assert_eq!(window(early, early), None);
    assert_eq!(window(early, "soon"), None);
}

#[test]
fn null_is_as_good_as_nothing() {
    let text = r#"{"newNonce": "n", "newAccount": "a", "newOrder": "o", "keyChange": null,
        "meta": {"caaIdentities": null, "profiles": null, "externalAccountRequired": null}}"#;
    assert_eq!(serde_json::from_str::<Directory>(text).expect("a directory").meta, Meta::default());
    let text = r#"{"status": "valid", "identifier": {"type": "dns", "value": "a.test"}, "wildcard": null, "challenges": null}"#;
    assert_eq!(serde_json::from_str::<Authorization>(text).expect("an authorization").challenges, []);
    assert_eq!(
        serde_json::from_str::<Account>(r#"{"status": "valid", "contact": null}"#).expect("one").contact,
        [""; 0]
    );
}
