//! The cost of an edit: only the parts that it touches are compiled. Also kinds that the source
//! refuses.

use super::*;

#[test]
fn one_changed_ingress_of_many_compiles_only_its_own_host() {
    let mut index = index();
    index.apply(apply(service("web")));
    let objects = (0..10_000)
        .map(|n| {
            object(ingress(
                &format!("i{n}"),
                &format!("h{n}.example"),
                "/",
                "web",
            ))
        })
        .collect();
    index.apply(Event::Reset(Kind::Ingress, objects));
    index.compile();
    let before = index.table().clone();
    index.apply(apply(ingress("i77", "h77.example", "/new", "web")));
    let output = index.compile();
    let after = output.table.as_ref().expect("a new table");
    let changed: Vec<String> = (0..10_000)
        .map(|n| format!("h{n}.example"))
        .filter(|host| {
            let of = |table: &crate::routing::RoutingTable| {
                table.host(Some(host)).expect("its rules").clone()
            };
            !Arc::ptr_eq(&of(&before), &of(after))
        })
        .collect();
    assert_eq!(changed, ["h77.example"]);
    assert_eq!(met(&index, "h77.example", "/"), "404");
    assert!(output.certificates.is_none() && output.endpoints.is_empty());

    // And a request looks at the rules of its own host, however many others there are.
    assert_eq!(after.explain(Some("h77.example"), "/new", &GET).len(), 1);

    // A Service that all use touches all, an edit of its endpoints none.
    index.apply(apply(slice(
        "s",
        "web",
        json!([{"addresses": ["10.0.0.1"]}]),
    )));
    assert!(index.compile().table.is_none());
}

#[test]
fn an_unreadable_secret_is_not_reported_as_missing() {
    let mut index = index();
    index.apply(apply(service("web")));
    for (name, host) in [("one", "a.example"), ("two", "b.example")] {
        let mut ingress = ingress(name, host, "/", "web");
        ingress["spec"]["tls"] = json!([{"hosts": [host], "secretName": host}]);
        index.apply(apply(ingress));
    }

    index.apply(Event::Reset(
        Kind::Secret,
        vec![object(secret("b.example", "b.example"))],
    ));
    assert_eq!(
        reasons(&index.compile()),
        [("one".to_owned(), "SecretNotFound")]
    );

    // Losing and regaining the right to read Secrets: the last known state stays in use.
    index.apply(Event::Refused(Kind::Secret));
    let output = index.compile();
    assert_eq!(reasons(&output), [("one".to_owned(), "SecretsForbidden")]);

    let message = output.findings.as_ref().expect("findings")[0]
        .message
        .to_string();
    assert!(
        message.contains("does not allow gatelet to read Secrets"),
        "{message}"
    );
    assert!(
        output.certificates.is_none(),
        "the same certificates as before"
    );

    index.apply(Event::Reset(
        Kind::Secret,
        vec![object(secret("a.example", "a.example"))],
    ));
    assert_eq!(
        reasons(&index.compile()),
        [("two".to_owned(), "SecretNotFound")]
    );
}
