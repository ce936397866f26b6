use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn the_total_is_kept_and_given_back() {
    let connections = Connections::new(2, 0);
    let first = connections.admit().unwrap();
    let _second = connections.admit().unwrap();
    assert_eq!(connections.admit().unwrap_err(), Refused::Total);
    drop(first);
    assert_eq!(connections.total(), 1);
    assert!(connections.admit().is_ok());
}

#[test]
fn one_client_gets_no_more_than_its_share() {
    let connections = Connections::new(100, 2);
    let mut permits: Vec<_> = (0..3).map(|_| connections.admit().unwrap()).collect();
    assert_eq!(permits[0].count_client(ip("192.0.2.1")), Ok(()));
    assert_eq!(permits[1].count_client(ip("::ffff:192.0.2.1")), Ok(()));
    assert_eq!(
        permits[2].count_client(ip("192.0.2.1")),
        Err(Refused::Client)
    );
    assert_eq!(permits[2].count_client(ip("192.0.2.2")), Ok(()));
    permits.remove(0);
    let mut again = connections.admit().unwrap();
    assert_eq!(again.count_client(ip("192.0.2.1")), Ok(()));
}

#[test]
fn an_ipv6_client_is_its_64() {
    let connections = Connections::new(100, 1);
    let mut first = connections.admit().unwrap();
    let mut second = connections.admit().unwrap();
    assert_eq!(first.count_client(ip("2001:db8:1:2::1")), Ok(()));
    assert_eq!(
        second.count_client(ip("2001:db8:1:2:ffff::9")),
        Err(Refused::Client)
    );
    assert_eq!(second.count_client(ip("2001:db8:1:3::1")), Ok(()));
}

#[test]
fn no_address_stays_behind() {
    let connections = Connections::new(10_000, 4);
    let permits: Vec<_> = (0..5_000_u32)
        .map(|n| {
            let mut permit = connections.admit().unwrap();
            permit.count_client(IpAddr::from(n.to_be_bytes())).unwrap();
            permit
        })
        .collect();
    drop(permits);
    assert_eq!(connections.total(), 0);
    for shard in &connections.clients {
        let shard = shard.lock().unwrap();
        assert!(shard.is_empty());
        assert!(shard.capacity() < 128, "{}", shard.capacity());
    }
}
