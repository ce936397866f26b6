use std::{cell::Cell, collections::BTreeSet};

use super::*;

fn backend(service: &str) -> BackendId {
    BackendId {
        namespace: "n".into(),
        service: service.into(),
        port: 80,
    }
}

fn endpoints(count: u8) -> Vec<Endpoint> {
    let address = |last| format!("10.0.0.{last}:80").parse().expect("an address");
    (1..=count)
        .map(|last| Endpoint::at(address(last)))
        .collect()
}

fn terms(is_persistent: bool) -> StickyCookie {
    StickyCookie {
        is_persistent,
        ..StickyCookie::default()
    }
}

/// Random numbers that are the same in each run.
fn dice() -> impl Fn() -> u64 {
    let state = Cell::new(7_u64);
    move || {
        state.set(state.get().wrapping_add(1));
        mix(state.get())
    }
}

/// A bench of one backend.
struct Bench {
    id: BackendId,
    secret: SessionSecret,
    terms: StickyCookie,
}

impl Bench {
    fn new(is_persistent: bool) -> Self {
        Self {
            id: backend("a"),
            secret: SessionSecret::default(),
            terms: terms(is_persistent),
        }
    }

    /// Returns the chosen index, and the new cookie.
    fn pick(
        &self,
        ticket: Option<Ticket>,
        list: &[Endpoint],
        usable: impl Fn(usize) -> bool,
        random: &impl Fn() -> u64,
    ) -> (Option<usize>, Option<Ticket>) {
        let session = Session::of_cookie(&self.id, &self.secret, &self.terms, ticket);
        let index = session.pick(list, usable, random);
        (index, session.issued().map(|(_, ticket)| ticket))
    }
}

#[test]
fn a_client_stays_where_it_began() {
    for is_persistent in [false, true] {
        let (bench, list, random) = (Bench::new(is_persistent), endpoints(5), dice());
        let mut seen = [0; 5];
        for _ in 0..500 {
            let (first, ticket) = bench.pick(None, &list, |_| true, &random);
            let first = first.expect("an endpoint");
            seen[first] += 1;
            let again = bench.pick(ticket, &list, |_| true, &random);
            assert_eq!(again, (Some(first), None));
        }
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
    }
}

#[test]
fn new_endpoints_move_their_share_or_nobody() {
    for (is_persistent, least, most) in [(false, 50, 200), (true, 0, 0)] {
        let (bench, list, random) = (Bench::new(is_persistent), endpoints(4), dice());
        let mut moved = 0;
        for _ in 0..500 {
            let (first, ticket) = bench.pick(None, &list[1..], |_| true, &random);
            let (now, _) = bench.pick(ticket, &list, |_| true, &random);
            moved += u32::from(now != first.map(|index| index + 1));
        }
        assert!((least..=most).contains(&moved), "{moved}");
    }
}

#[test]
fn the_end_of_an_endpoint_moves_its_own_clients() {
    for is_persistent in [false, true] {
        let (bench, list, random) = (Bench::new(is_persistent), endpoints(4), dice());
        for _ in 0..200 {
            let (first, ticket) = bench.pick(None, &list, |_| true, &random);
            let first = first.expect("an endpoint");
            let (now, issued) = bench.pick(ticket, &list[1..], |_| true, &random);
            if first > 0 {
                assert_eq!((now, issued), (Some(first - 1), None));
            } else {
                assert_eq!(issued.is_some(), is_persistent);
                let ticket = issued.or(ticket);
                let again = bench.pick(ticket, &list[1..], |_| true, &random);
                assert_eq!(again, (now, None));
            }
        }
    }
}

#[test]
fn a_failed_endpoint_keeps_its_clients_unless_they_change() {
    for is_persistent in [false, true] {
        for change_on_failure in [false, true] {
            let mut bench = Bench::new(is_persistent);
            bench.terms.change_on_failure = change_on_failure;
            let (list, random) = (endpoints(3), dice());
            let (first, ticket) = bench.pick(None, &list, |_| true, &random);
            let first = first.expect("an endpoint");

            let (next, issued) = bench.pick(ticket, &list, |index| index != first, &random);
            assert!(next.is_some() && next != Some(first));
            assert_eq!(issued.is_some(), change_on_failure);
            let later = bench.pick(issued.or(ticket), &list, |_| true, &random);
            let expected = if change_on_failure { next } else { Some(first) };
            assert_eq!(later, (expected, None));
        }
    }
}

#[test]
fn a_new_client_begins_at_no_endpoint_that_ends() {
    for is_persistent in [false, true] {
        let (bench, mut list, random) = (Bench::new(is_persistent), endpoints(3), dice());
        let (_, ticket) = bench.pick(None, &list[..1], |_| true, &random);
        list[0].draining = true;
        for _ in 0..100 {
            let (index, _) = bench.pick(None, &list, |_| true, &random);
            assert_ne!(index, Some(0));
        }
        // Its own clients stay.
        assert_eq!(bench.pick(ticket, &list[..1], |_| true, &random).0, Some(0));
        list.iter_mut()
            .for_each(|endpoint| endpoint.draining = true);
        assert!(bench.pick(None, &list, |_| true, &random).0.is_some());
        assert_eq!(bench.pick(None, &list, |_| false, &random), (None, None));
        assert_eq!(bench.pick(ticket, &[], |_| true, &random), (None, None));
    }
}

#[test]
fn forged_cookies_lead_to_some_endpoint_and_say_nothing() {
    let (bench, list, random) = (Bench::new(true), endpoints(3), dice());
    for text in [
        "",
        "0",
        "10.0.0.1:80",
        "é",
        "ABCDEF0123456789ABCDEF0123456789",
    ] {
        assert_eq!(Ticket::parse(text.as_bytes()), None, "{text}");
    }
    assert_eq!(Ticket::parse(&[b'0'; 31]), None);
    assert_eq!(Ticket::parse(&[b'0'; 33]), None);
    assert_eq!(Ticket::parse(&[0xff; 32]), None);

    let forged = Ticket::parse(&[b'1'; 32]).expect("a ticket");
    assert_eq!(Ticket::parse(forged.text().as_bytes()), Some(forged));
    let (index, issued) = bench.pick(Some(forged), &list, |_| true, &random);
    let issued = issued.expect("a cookie of ours");
    // A mark under the client's own key would be an oracle.
    assert!(index.is_some() && issued.key != forged.key);
    assert!(!list.iter().any(|one| one.id.number() == issued.mark));
}

#[test]
fn a_cookie_belongs_to_one_backend_and_one_device() {
    for is_persistent in [false, true] {
        let (bench, list, random) = (Bench::new(is_persistent), endpoints(3), dice());
        let ticket = bench
            .pick(None, &list, |_| true, &random)
            .1
            .expect("a cookie");
        let is_of = |secret: &SessionSecret, service: &str| {
            ticket.is_of(secret, &bench.terms, &backend(service), &list)
        };
        assert!(is_of(&bench.secret, "a") && !is_of(&bench.secret, "b"));
        assert!(!is_of(&SessionSecret::default(), "a"));
    }

    let (one, other) = (SessionSecret::default(), SessionSecret::default());
    one.derive(b"the same");
    other.derive(b"the same");
    assert_eq!(one.mask(1, &backend("a")), other.mask(1, &backend("a")));
}

#[test]
fn the_same_text_leads_to_the_same_endpoint() {
    let (id, secret, list) = (backend("a"), SessionSecret::default(), endpoints(3));
    let mut seen = [0; 3];
    for number in 0..300_u32 {
        let session = Session::of_text(&id, &secret, &number.to_le_bytes(), NonZeroU32::MIN);
        let index = session.pick(&list, |_| true, || 0).expect("an endpoint");
        assert_eq!(session.pick(&list, |_| true, || 1), Some(index));
        assert_ne!(
            session.pick(&list, |other| other != index, || 1),
            Some(index)
        );
        assert!(session.issued().is_none());
        seen[index] += 1;
    }
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
}

#[test]
fn a_text_is_spread_over_its_own_subset() {
    let (id, secret, list) = (backend("a"), SessionSecret::default(), endpoints(9));
    let three = NonZeroU32::new(3).expect("a number");
    let subset = |text: &[u8], usable: &dyn Fn(usize) -> bool| {
        let session = Session::of_text(&id, &secret, text, three);
        let picked = (0..60).map(|random| session.pick(&list, usable, || random));
        picked.collect::<BTreeSet<Option<usize>>>()
    };

    let all = subset(b"one", &|_| true);
    assert_eq!((all.len(), all.contains(&None)), (3, false));
    assert_ne!(all, subset(b"other", &|_| true));

    // Without one of them another one takes its place, and two stay.
    let gone = all.first().copied().flatten().expect("an endpoint");
    let left = subset(b"one", &|index| index != gone);
    assert_eq!((left.len(), left.intersection(&all).count()), (3, 2));
    assert_eq!(subset(b"one", &|index| index < 2).len(), 2);
    assert_eq!(subset(b"one", &|_| false), [None].into());
}

#[test]
fn sessions_begin_as_the_weights_say_and_stay_without_weight() {
    for is_persistent in [false, true] {
        let (bench, mut list, random) = (Bench::new(is_persistent), endpoints(3), dice());
        list[0].weight = 1;
        list[1].weight = 4;
        list[2].weight = 0;
        let mut seen = [0_u32; 3];
        let mut last = None;
        for _ in 0..1000 {
            let (index, ticket) = bench.pick(None, &list, |_| true, &random);
            seen[index.expect("an endpoint")] += 1;
            last = ticket.map(|ticket| (index, ticket));
        }
        assert!(seen[0].abs_diff(200) < 60 && seen[2] == 0, "{seen:?}");

        let (index, ticket) = last.expect("a session");
        list[index.expect("an endpoint")].weight = 0;
        let (again, _) = bench.pick(Some(ticket), &list, |_| true, &random);
        assert_eq!(again == index, is_persistent);
        list.iter_mut().for_each(|one| one.weight = 0);
        let (new, _) = bench.pick(None, &list, |_| true, &random);
        assert_eq!(new, None);
    }
}

#[test]
fn in_a_group_weights_do_not_matter() {
    for is_persistent in [false, true] {
        let (bench, mut list, random) = (Bench::new(is_persistent), endpoints(4), dice());
        let session = |ticket| Session::of_cookie(&bench.id, &bench.secret, &bench.terms, ticket);
        let (_, ticket) = bench.pick(None, &list, |index| index == 3, &random);
        list[2].weight = 0;
        list[3].weight = 0;

        let in_group = |index: usize| index > 1;
        for ticket in [None, ticket] {
            let begun = session(ticket);
            let first = begun.pick_any(&list, in_group);
            assert!(first.is_some_and(in_group) && begun.issued().is_none());
            let again = session(ticket).pick_any(&list, in_group);
            assert_eq!(again, first);
        }
        if is_persistent {
            assert_eq!(session(ticket).pick_any(&list, in_group), Some(3));
        }
        assert_eq!(session(ticket).pick_any(&list, |_| false), None);
    }
}
