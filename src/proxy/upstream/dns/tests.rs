use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed},
    },
};

use hickory_resolver::{
    config::{ConnectionConfig, NameServerConfig, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};

use super::*;
use crate::proxy::executor::local;

/// A DNS server that has the address 192.0.2.`last` for names that begin with `a`, and no other.
/// Counts questions for IPv4 addresses.
fn server(last: Arc<AtomicU8>, asked: Arc<AtomicUsize>) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("address").port();
    std::thread::spawn(move || {
        let mut packet = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let name = 12
                + packet[12..length]
                    .iter()
                    .position(|byte| *byte == 0)
                    .expect("a name")
                + 1;
            let question = &packet[12..name + 4];
            let (known, v4) = (
                packet[13].eq_ignore_ascii_case(&b'a'),
                packet[name + 1] == 1,
            );
            asked.fetch_add(usize::from(v4), Relaxed);
            let answers = u8::from(known && v4);
            let mut reply = packet[..2].to_vec();
            reply.extend([
                0x81,
                if known { 0x80 } else { 0x83 },
                0,
                1,
                0,
                answers,
                0,
                0,
                0,
                0,
            ]);
            reply.extend(question);
            if answers == 1 {
                // Name by pointer, type A, class IN, lifetime one second.
                reply.extend([
                    0xc0,
                    12,
                    0,
                    1,
                    0,
                    1,
                    0,
                    0,
                    0,
                    1,
                    0,
                    4,
                    192,
                    0,
                    2,
                    last.load(Relaxed),
                ]);
            }
            let _ = socket.send_to(&reply, from);
        }
    });
    port
}

fn cache(port: u16) -> Rc<DnsCache> {
    let mut connection = ConnectionConfig::udp();
    connection.port = port;

    let server = NameServerConfig::new(Ipv4Addr::LOCALHOST.into(), true, vec![connection]);
    let config = ResolverConfig::from_name_servers(vec![server]);
    let resolver =
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build();
    let resolver = Rc::new(resolver.expect("resolver"));
    Rc::new(DnsCache {
        servers: Servers {
            // Not there: the resolver above stays in use.
            file: "/no/resolv.conf".into(),
            made: RefCell::new(Some((Vec::new(), resolver))),
        },
        ..DnsCache::default()
    })
}

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn literals_and_localhost_need_no_dns() {
    local(async {
        let cache = cache(1);
        assert_eq!(
            cache.resolve("::1", LIMIT).await.as_deref(),
            Some(&[IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])][..])
        );
        let loopback = [IpAddr::from([127, 0, 0, 1])];
        assert_eq!(
            cache.resolve("LocalHost", LIMIT).await.as_deref(),
            Some(&loopback[..])
        );
        assert!(cache.known.borrow().is_empty());
    });
}

#[test]
fn servers_that_appear_or_change_are_taken_up() {
    let file = std::env::temp_dir().join(format!("gatelet-resolv-{}", std::process::id()));
    let _ = fs::remove_file(&file);
    local(async {
        let servers = Servers {
            file: file.clone(),
            made: RefCell::default(),
        };
        assert!(servers.resolver().is_none());

        let name = |server: &str| fs::write(&servers.file, format!("nameserver {server}\n"));
        name("192.0.2.1").expect("a file");
        let first = servers.resolver().expect("a server");
        assert!(Rc::ptr_eq(&first, &servers.resolver().expect("the same")));

        name("192.0.2.2").expect("a file");
        let second = servers.resolver().expect("a server");
        assert!(!Rc::ptr_eq(&first, &second));

        // While it is written anew, the last known servers stay in use.
        fs::write(&servers.file, "").expect("a file");
        assert!(Rc::ptr_eq(&second, &servers.resolver().expect("the same")));
    });
    let _ = fs::remove_file(&file);
}

#[test]
fn requests_share_a_query_and_use_expired_addresses() {
    let (last, asked) = (Arc::new(AtomicU8::new(1)), Arc::new(AtomicUsize::new(0)));
    let port = server(last.clone(), asked.clone());
    local(async {
        let cache = cache(port);
        let all: Vec<_> = (0..20)
            .map(|_| {
                let cache = cache.clone();
                tokio::task::spawn_local(async move { cache.resolve("a.example", LIMIT).await })
            })
            .collect();

        for one in all {
            assert_eq!(
                one.await.expect("no panic").as_deref(),
                Some(&[IpAddr::from([192, 0, 2, 1])][..])
            );
        }
        assert_eq!(asked.load(Relaxed), 1);

        last.store(2, Relaxed);
        cache.servers.resolver().expect("resolver").clear_cache();
        let entry = cache.entry("a.example");
        entry.until.set(Some(Instant::now()));
        assert_eq!(
            cache.resolve("a.example", LIMIT).await.as_deref(),
            Some(&[IpAddr::from([192, 0, 2, 1])][..])
        );
        while entry
            .until
            .get()
            .is_some_and(|until| until <= Instant::now())
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(
            cache.resolve("a.example", LIMIT).await.as_deref(),
            Some(&[IpAddr::from([192, 0, 2, 2])][..])
        );
    });
}

#[test]
fn a_name_without_address_is_not_asked_for_by_every_request() {
    let asked = Arc::new(AtomicUsize::new(0));
    let port = server(Arc::default(), asked.clone());
    local(async {
        let cache = cache(port);
        assert_eq!(cache.resolve("b.example", LIMIT).await, None);
        let before = asked.load(Relaxed);
        assert_eq!(cache.resolve("b.example", LIMIT).await, None);
        assert_eq!(asked.load(Relaxed), before);
    });
}
