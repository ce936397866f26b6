//! No client stops a core, or stays beyond its deadline: every idle, slow, silent and unread kind, with short times.
//! `tests/soak` does the same with the defaults.

use std::{thread, time::Duration};

use super::support::{
    Backend, Gatelet,
    clients::{Timeouts, kinds},
};

const HOST: &str = "deadlines.example.com";

/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(20);

#[test]
fn every_kind_of_client_ends_with_its_deadline() {
    let seconds = Duration::from_secs;
    let timeouts = Timeouts { handshake: seconds(2), header: seconds(3), idle: seconds(4), stream: seconds(6) };
    let gatelet = Gatelet::configured(
        "workers = 2\n[proxy]\nhandshake_timeout = \"2s\"\nclient_header_timeout = \"3s\"\n\
         client_idle_timeout = \"4s\"\nstream_idle_timeout = \"6s\"\n",
    );
    let backend = Backend::start("deadlines");
    gatelet.serve(&backend.manifests("deadlines", HOST), HOST);

    let clients: Vec<_> = kinds()
        .into_iter()
        .map(|kind| {
            let (http, https) = (gatelet.http_addr(), gatelet.https_addr());
            let patience = (kind.ends_after)(&timeouts) + Duration::from_secs(2) + SLACK;
            (kind, thread::spawn(move || kind.run(http, https, HOST, patience)))
        })
        .collect();
    for (kind, client) in clients {
        let ended = client.join().expect("no panic").unwrap_or_else(|| panic!("{kind:?} was not ended"));
        let due = (kind.ends_after)(&timeouts);
        assert!(ended.after >= due.mul_f32(0.9), "{kind:?} was ended too early: {:?}", ended.after);
    }

    // Each core still answers: connections are spread over them by chance.
    for _ in 0..40 {
        assert_eq!(gatelet.status_of(HOST, "/"), 200);
    }
}
