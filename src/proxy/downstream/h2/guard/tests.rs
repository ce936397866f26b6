use super::*;

fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
    let length = u32::try_from(payload).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
    bytes.resize(HEAD + payload, 0);
    bytes
}

/// Returns the number of copies of a frame that a connection accepts in one burst, up to 10,000;
/// fed in pieces of `step` bytes.
fn survives(frame: &[u8], step: usize) -> usize {
    let mut frames = Frames::new();
    assert!(frames.scan(PREFACE));

    for count in 0..10_000 {
        if !frame.chunks(step).all(|piece| frames.scan(piece)) {
            return count;
        }
    }
    10_000
}

#[test]
fn frames_that_ask_for_nothing_end_the_connection() {
    for (kind, payload) in [(0, 0), (2, 5), (3, 4), (4, 6), (6, 8), (9, 10), (0x55, 100)] {
        for step in [1, 4, 9, 1000] {
            let count = survives(&frame(kind, 0, payload), step);
            assert!(
                (CREDIT as usize..CREDIT as usize + 500).contains(&count),
                "frame type {kind}: {count}"
            );
        }
    }
}

#[test]
fn what_carries_something_goes_on_for_ever() {
    assert_eq!(survives(&frame(0, 0, 1), 1000), 10_000);
    assert_eq!(survives(&frame(0, 1, 0), 1000), 10_000);
    assert_eq!(survives(&frame(1, 4, 40), 1000), 10_000);

    // A ping for every two kilobytes, as clients send that measure their bandwidth.
    let mixed = [frame(0, 0, 2048), frame(6, 0, 8)].concat();
    assert_eq!(survives(&mixed, 1000), 10_000);
}
