use std::cell::RefCell;

use super::*;
use crate::proxy::executor::local;

/// A hash that takes a moment, of the password `secret`.
const HASH: &str = "$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn hash() -> PasswordHash {
    PasswordHash::parse(HASH).expect("a hash")
}

fn name(number: usize) -> Name {
    let mut name = Name::default();
    name[..8].copy_from_slice(&number.to_le_bytes());
    name
}

#[test]
fn a_right_password_is_remembered_and_a_wrong_one_is_not() {
    let (comparer, logins) = (Comparer::default(), RefCell::new(Logins::default()));
    let hash = hash();
    for (password, expected) in [("secret", true), ("wrong", false), ("secret", true)] {
        let checked = is_right(&comparer, &logins, &hash, password.as_bytes(), CLIENT);
        assert_eq!(local(checked).expect("a result"), expected, "{password}");
    }

    let mut logins = logins.borrow_mut();
    assert_eq!((logins.young.len(), logins.pending.len()), (1, 0));
    let name = logins.name(&hash, b"secret");
    assert!(logins.remembers(&name));
    // With another hash of the same password it is compared again.
    let other = PasswordHash::plain("secret");
    let name = logins.name(&other, b"secret");
    assert!(!logins.remembers(&name));
    assert!(lock(&comparer.waiting).is_empty());
}

#[test]
fn the_memory_of_right_passwords_is_bounded() {
    let mut logins = Logins::default();
    for number in 0..10 * REMEMBERED {
        logins.remember(name(number));
    }
    assert!(logins.young.len() + logins.old.len() <= 2 * REMEMBERED);
    assert!(logins.remembers(&name(10 * REMEMBERED - 1)) && !logins.remembers(&name(0)));
}

#[test]
fn a_password_in_use_outlives_the_others() {
    let mut logins = Logins::default();
    for number in 0..4 * REMEMBERED {
        logins.remember(name(number));
        assert!(logins.remembers(&name(0)), "after {number}");
    }
}

#[test]
fn one_client_cannot_take_all_places() {
    let waiting = Arc::default();
    let places: Vec<Place> = (0..MAX_WAITING_PER_CLIENT)
        .map(|_| Place::take(&waiting, CLIENT).expect("a place"))
        .collect();
    assert!(Place::take(&waiting, CLIENT).is_none());
    let other: IpAddr = "192.0.2.2".parse().expect("an address");
    assert!(Place::take(&waiting, other).is_some());
    drop(places);
    assert!(lock(&waiting).is_empty());
    assert!(Place::take(&waiting, CLIENT).is_some());
}

#[test]
fn the_same_comparison_is_made_once_at_a_time() {
    let mut logins = Logins::default();
    let (sender, result) = watch::channel(None);
    let started = logins.outcome(name(1), || Ok(result)).is_ok();
    let again = logins.outcome(name(1), || panic!("it is under way"));
    assert!(started && again.is_ok());

    // One that nobody waits for any more is forgotten.
    drop(sender);
    let (_sender, result) = watch::channel(None);
    let next = logins.outcome(name(2), || Ok(result));
    assert!(next.is_ok() && logins.pending.len() == 1);
}
