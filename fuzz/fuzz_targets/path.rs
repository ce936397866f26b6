#![no_main]

use gatelet::routing::path::normalize;
use libfuzzer_sys::fuzz_target;

// A normalized path is normal: it does not change again, and no element of it climbs.
fuzz_target!(|text: &str| {
    if let Ok(normal) = normalize(text) {
        assert_eq!(normalize(&normal).as_deref(), Ok(&*normal));
        assert!(normal.split('/').all(|element| element != ".."), "{normal}");
    }
});
