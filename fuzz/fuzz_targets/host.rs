#![no_main]

use gatelet::routing::{Authority, HostPattern};
use libfuzzer_sys::fuzz_target;

// A parsed host is canonical: it parses to itself, and its pattern matches it.
fuzz_target!(|text: &str| {
    if let Ok(pattern) = HostPattern::parse(text)
        && pattern != HostPattern::Any
    {
        let canonical = pattern.to_string();
        assert_eq!(HostPattern::parse(&canonical), Ok(pattern));
    }
    if let Ok(authority) = Authority::parse(text.as_bytes()) {
        let again = Authority::parse(authority.host.as_bytes()).expect("a canonical host");
        assert_eq!(again.host, authority.host);
    }
});
