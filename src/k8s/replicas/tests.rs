use super::*;

fn lease(node: &str, address: &str, renewed: u64) -> Value {
    json!({
        "metadata": { "name": format!("gatelet-node-{node}"), "annotations": { ADDRESS: address } },
        "spec": { "renewTime": renewed },
    })
}

fn live(found: &Replicas) -> Vec<String> {
    found.live.iter().map(IpAddr::to_string).collect()
}

#[test]
fn a_node_is_live_while_its_lease_changes() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut others = Others::default();
    let both = vec![
        lease("a", "192.0.2.1", 0),
        lease("b", "192.0.2.2,2001:db8::2", 0),
    ];
    assert_eq!(
        live(&others.see(start, both)),
        ["192.0.2.1", "192.0.2.2", "2001:db8::2"]
    );

    let renewed = vec![
        lease("a", "192.0.2.1", 59),
        lease("b", "192.0.2.2,2001:db8::2", 0),
    ];
    assert_eq!(
        live(&others.see(at(59), renewed.clone())),
        ["192.0.2.1", "192.0.2.2", "2001:db8::2"]
    );
    let found = others.see(at(60), renewed);
    assert_eq!(live(&found), ["192.0.2.1"]);
    assert_eq!(found.stale, [lease("b", "192.0.2.2,2001:db8::2", 0)]);

    // The node is back.
    let found = others.see(at(61), vec![lease("b", "192.0.2.3", 61)]);
    assert_eq!(
        (live(&found), found.stale),
        (vec!["192.0.2.3".to_owned()], Vec::new())
    );
}

#[test]
fn unreadable_leases_do_not_affect_the_others() {
    let strange = [
        json!(7),
        json!({ "metadata": { "name": "x" } }),
        lease("c", "here, 192.0.2.9,", 0),
    ];
    let leases = strange
        .into_iter()
        .chain([lease("a", "192.0.2.1", 0)])
        .collect();
    assert_eq!(
        live(&Others::default().see(Instant::now(), leases)),
        ["192.0.2.1"]
    );
}
