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
    let (mut frames, traffic) = (Frames::new(), Traffic::default());
    assert!(frames.scan(PREFACE, &traffic));

    for count in 0..10_000 {
        if !frame.chunks(step).all(|piece| frames.scan(piece, &traffic)) {
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

#[test]
fn what_is_written_or_reset_no_longer_waits() {
    const ADDED: usize = 70_000;
    let client_resets = || {
        let traffic = Traffic::default();
        traffic.outbox.add(1, ADDED);
        let reset = [PREFACE, &frame(RST_STREAM, 0, 4)].concat();
        assert!(Frames::new().scan(&reset, &traffic));
        traffic.outbox
    };
    assert_eq!(client_resets().total(), 0);

    for (frames, left) in [
        (frame(DATA, 0, 16_384), ADDED - 16_384),
        (
            [frame(HEADERS, 4, 100), frame(DATA, 1, 10)].concat(),
            ADDED - 10,
        ),
        (frame(RST_STREAM, 0, 4), 0),
        (frame(6, 0, 8), ADDED),
    ] {
        for step in [1, 7, 9, 10, 5000] {
            let mut guard = Guard::new(tokio::io::sink(), Vec::new(), Rc::default());
            let outbox = guard.traffic.outbox.clone();
            outbox.add(1, ADDED);

            let mut context = Context::from_waker(std::task::Waker::noop());
            for piece in frames.chunks(step) {
                let (first, second) = piece.split_at(piece.len() / 2);
                let slices = [first, second].map(io::IoSlice::new);
                let written = Pin::new(&mut guard).poll_write_vectored(&mut context, &slices);
                assert!(matches!(written, Poll::Ready(Ok(n)) if n == piece.len()));
            }
            assert_eq!(outbox.total(), left, "pieces of {step}");
        }
    }
}

#[test]
fn request_bodies_wait_until_they_are_taken() {
    let traffic = Traffic::default();
    let mut frames = Frames::new();
    assert!(frames.scan(&[PREFACE, &frame(DATA, 0, 1000)].concat(), &traffic));
    assert!(frames.scan(&frame(DATA, 1, 500), &traffic));
    assert_eq!(traffic.unread(), 1500);

    traffic.took(900);
    assert_eq!(traffic.unread(), 600);
    traffic.has_no_stream();
    assert_eq!(traffic.unread(), 0);
    traffic.took(1);
    assert_eq!(traffic.unread(), 0);
}
