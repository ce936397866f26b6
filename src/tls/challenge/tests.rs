use super::*;

const FROM: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

fn host(text: &str) -> Host {
    Host::parse(text).expect("a host")
}

fn answers(hosts: &[&str], thumbprint: &str) -> ChallengeMap {
    let mut map = ChallengeMap::default();
    for name in hosts {
        map.answer_http(host(name), thumbprint);
    }
    map
}

#[test]
fn any_token_of_a_host_with_a_thumbprint_is_accepted() {
    let challenges = Challenges::default();
    assert_eq!(challenges.http("a.example", "t", FROM), None);
    challenges.swap(answers(
        &["a.example", "192.0.2.1", "[2001:db8::1]"],
        "print",
    ));
    let longest = "x".repeat(MAX_TOKEN);
    for token in ["t", "aZ09-_", &longest] {
        for host in ["a.example", "192.0.2.1", "[2001:db8::1]"] {
            assert_eq!(
                challenges.http(host, token, FROM),
                Some(format!("{token}.print"))
            );
        }
    }
    assert_eq!(challenges.http("b.example", "t", FROM), None);
    for token in [
        "",
        "a.b",
        "a/b",
        "a=",
        "a%41",
        "<a>",
        "ä",
        &"x".repeat(MAX_TOKEN + 1),
    ] {
        assert_eq!(challenges.http("a.example", token, FROM), None, "{token}");
    }
}

#[test]
fn a_token_can_have_another_thumbprint_than_its_host() {
    let mut map = answers(&["a.example"], "print");
    map.answer_token(host("a.example"), "t", "other");
    map.answer_token(host("b.example"), "t", "third");
    map.answer_token(host("a.example"), &"x".repeat(MAX_TOKEN + 1), "other");
    map.answer_http(host("b.example"), "fourth");

    let challenges = Challenges::default();
    challenges.swap(map);
    for (host, token, proof) in [
        ("a.example", "t", "t.other"),
        ("a.example", "u", "u.print"),
        ("b.example", "t", "t.third"),
        ("b.example", "u", "u.fourth"),
    ] {
        assert_eq!(challenges.http(host, token, FROM).as_deref(), Some(proof));
    }
}

#[test]
fn hits_are_counted_by_host_and_survive_a_swap() {
    let challenges = Challenges::default();
    let hits = |name: &str| challenges.hits(&host(name), ChallengeKind::Http01);
    assert_eq!(hits("a.example"), Hits::default());
    challenges.swap(answers(&["a.example", "b.example"], "one"));
    challenges.http("a.example", "t", FROM);
    challenges.http("a.example", "not a token", FROM);
    let first = hits("a.example");
    assert_eq!((first.count, first.from), (1, Some(FROM)));
    assert_eq!(hits("b.example"), Hits::default());
    challenges.swap(answers(&["a.example"], "two"));
    assert_eq!(hits("a.example"), first);
    let other = IpAddr::from([198, 51, 100, 1]);
    assert_eq!(
        challenges.http("a.example", "t", other).as_deref(),
        Some("t.two")
    );
    let second = hits("a.example");
    assert_eq!((second.count, second.from), (2, Some(other)));
    assert!(second.last >= first.last);
    challenges.swap(ChallengeMap::default());
    assert_eq!(hits("a.example"), Hits::default());
}
