use std::net::TcpListener;

use super::*;

#[test]
fn the_process_that_listens_is_named() {
    for any in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(any) else {
            continue;
        };
        let addr = listener.local_addr().expect("its address");
        let text = taken(addr, "another address with --http");
        assert!(
            text.contains(&format!("(process {}) listens there", std::process::id())),
            "{text}"
        );
        assert!(
            text.ends_with("or choose another address with --http"),
            "{text}"
        );
    }
}

#[test]
fn a_port_that_nobody_is_seen_on_has_advice() {
    assert_eq!(holder(Path::new("/nowhere"), 80), None);
    assert_eq!(
        listening("  sl  local_address rem_address   st tx_queue", 80),
        None
    );
    let line = "   0: 0100007F:0050 00000000:0000 0A 00000000:00000000 00:00000000 \
                00000000     0        0 4242 1 0";
    assert_eq!(listening(line, 80).as_deref(), Some("4242"));
    assert_eq!(listening(line, 81), None);
}
