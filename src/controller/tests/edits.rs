//! What an edit costs: only what it touches is compiled anew.

use super::*;

#[test]
fn one_changed_ingress_of_ten_thousand_compiles_its_own_host_only() {
    let mut index = index();
    index.apply(apply(service("web")));
    let objects =
        (0..10_000).map(|n| object(ingress(&format!("i{n}"), &format!("h{n}.example"), "/", "web"))).collect();
    index.apply(Event::Reset(Kind::Ingress, objects));
    index.compile();
    let before = index.table().clone();
    index.apply(apply(ingress("i77", "h77.example", "/new", "web")));
    let output = index.compile();
    let after = output.table.as_ref().expect("a new table");
    let changed: Vec<String> = (0..10_000)
        .map(|n| format!("h{n}.example"))
        .filter(|host| {
            let of = |table: &crate::routing::RoutingTable| table.host(Some(host)).expect("its rules").clone();
            !Arc::ptr_eq(&of(&before), &of(after))
        })
        .collect();
    assert_eq!(changed, ["h77.example"]);
    assert_eq!(met(&index, "h77.example", "/"), "404");
    assert!(output.certificates.is_none() && output.endpoints.is_empty());
    // And a request looks at the rules of its own host, however many others there are.
    assert_eq!(after.explain(Some("h77.example"), "/new").len(), 1);
    // A Service that all use touches all, an edit of its endpoints none.
    index.apply(apply(slice("s", "web", json!([{"addresses": ["10.0.0.1"]}]))));
    assert!(index.compile().table.is_none());
}
