use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;
use crate::proxy::executor::Local;

/// The codes of some characters (RFC 7541 appendix B).
const SOME: [Symbol; 12] = [
    (b'#', 0xffa, 12),
    (b'>', 0xffb, 12),
    (b'/', 0x18, 6),
    (b'?', 0x3fc, 10),
    (b':', 0x5c, 7),
    (b'a', 0x3, 5),
    (b'e', 0x5, 5),
    (b'h', 0x27, 6),
    (b'p', 0x2b, 6),
    (b't', 0x9, 5),
    (b'x', 0x79, 7),
    (b'X', 0xfc, 8),
];

/// A string, in Huffman's code or not (RFC 7541 section 5.2).
fn string(text: &str, huffman: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    if huffman {
        let (mut bits, mut have) = (0_u64, 0);

        for byte in text.bytes() {
            let (_, code, length) = SOME
                .into_iter()
                .find(|(symbol, ..)| *symbol == byte)
                .expect("a known code");
            (bits, have) = (bits << length | u64::from(code), have + length);
            while have >= 8 {
                have -= 8;
                bytes.push((bits >> have) as u8);
            }
        }
        if have > 0 {
            bytes.push((bits << (8 - have)) as u8 | 0xff >> have);
        }
    } else {
        bytes.extend(text.bytes());
    }
    let mut all = integer(bytes.len(), 7, if huffman { 0x80 } else { 0 });
    all.extend(bytes);
    all
}

fn integer(value: usize, prefix: u32, flags: u8) -> Vec<u8> {
    let max = (1 << prefix) - 1;
    if value < max {
        return vec![flags | value as u8];
    }
    let (mut all, mut rest) = (vec![flags | max as u8], value - max);
    while rest >= 128 {
        all.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    all.push(rest as u8);
    all
}

/// A literal field: true if it goes into the table, the index of its name or the name, and its
/// value.
fn literal(kept: bool, name: Result<usize, &str>, value: &str, huffman: bool) -> Vec<u8> {
    let (prefix, flags) = if kept { (6, 0x40) } else { (4, 0) };
    let mut field = integer(name.unwrap_or(0), prefix, flags);
    field.extend(
        name.err()
            .map(|name| string(name, huffman))
            .unwrap_or_default(),
    );
    field.extend(string(value, huffman));
    field
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [
        &[length[1], length[2], length[3], kind, flags, 0, 0, 0, 1],
        payload,
    ]
    .concat()
}

/// Returns true if a block has a `#` in `:path`. The result must not depend on how the block is
/// cut, and no other byte may change.
fn found(blocks: &[&[u8]]) -> Option<bool> {
    let mut seen = None;

    for step in [1, 2, 3, 7, 10_000] {
        let mut targets = Targets::new();
        let mut found = targets.scan(&mut PREFACE.to_vec());

        for block in blocks {
            let original = frame(HEADERS, 4, block);
            let mut bytes = original.clone();

            for piece in bytes.chunks_mut(step) {
                found |= targets.scan(piece);
            }
            assert_eq!(bytes != original, found, "{block:?}");
        }
        let response = (!targets.lost).then_some(found);
        assert_eq!(
            *seen.get_or_insert(response),
            response,
            "in pieces of {step}"
        );
    }
    seen.flatten()
}

#[test]
fn the_code_has_no_gap() {
    // As many codes of 30 bits are left as there are.
    assert_eq!(u64::from(FIRST[30] + CODES[30]), 1 << 30);
    assert_eq!(CODES.iter().sum::<u32>(), 257);

    for (symbol, code, bits) in SOME.into_iter().chain([HASH]).chain(NAME) {
        assert!(
            (FIRST[bits]..FIRST[bits] + CODES[bits]).contains(&code),
            "{}",
            char::from(symbol)
        );
        assert!(SOME.contains(&(symbol, code, bits)));
    }
}

#[test]
fn a_fragment_is_found_in_every_form_of_a_path() {
    for huffman in [false, true] {
        for kept in [false, true] {
            for name in [Ok(4), Ok(5), Err(":path")] {
                for (value, expected) in [
                    ("/", false),
                    ("/#", true),
                    ("/a#", true),
                    ("/a?#p", true),
                    ("#", true),
                    ("/>a", false),
                    ("", false),
                ] {
                    assert_eq!(
                        found(&[&literal(kept, name, value, huffman)]),
                        Some(expected),
                        "{name:?} {value:?}"
                    );
                }
            }

            // Other fields may have a `#`.
            for name in [
                Ok(1),
                Ok(51),
                Ok(32),
                Err(":pat"),
                Err(":paths"),
                Err("path"),
                Err("Xpath"),
                Err("x"),
            ] {
                let name = name.map_err(|name| {
                    if huffman {
                        name.trim_end_matches('s')
                    } else {
                        name
                    }
                });
                let is_path = name == Err(":path");
                assert_eq!(
                    found(&[&literal(kept, name, "/#", huffman)]),
                    Some(is_path),
                    "{name:?}"
                );
            }
        }
    }
}

#[test]
fn a_name_in_the_dynamic_table_is_known() {
    let own = literal(true, Err(":path"), "/x", false);
    let other = literal(true, Err("x"), "/x", true);
    let with = |index| literal(false, Ok(index), "/#", true);
    assert_eq!(found(&[&own, &with(62)]), Some(true));
    assert_eq!(found(&[&own, &other, &with(62)]), Some(false));
    assert_eq!(found(&[&own, &other, &with(63)]), Some(true));
    assert_eq!(
        found(&[&own, &other, &with(64)]),
        None,
        "there is no such entry"
    );

    // 4096 bytes hold 4 entries of 1024, and no more.
    let large = literal(true, Ok(62), &"x".repeat(1024 - ENTRY - 5), false);
    let first = literal(true, Err(":path"), &"x".repeat(1024 - ENTRY - 5), false);

    for (count, index, expected) in [
        (3, 65, Some(true)),
        (3, 66, None),
        (4, 65, Some(true)),
        (4, 66, None),
    ] {
        let mut blocks = vec![&*first];
        blocks.extend(std::iter::repeat_n(&*large, count));
        let last = with(index);
        blocks.push(&last);
        assert_eq!(found(&blocks), expected, "{count} more");
    }

    // A smaller table, and one larger than allowed.
    let shrink = integer(0, 5, 0x20);
    assert_eq!(found(&[&own, &shrink, &with(62)]), None);
    assert_eq!(
        found(&[
            &own,
            &[&*shrink, &*integer(4096, 5, 0x20), &*own].concat(),
            &with(62)
        ]),
        Some(true)
    );
    assert_eq!(found(&[&integer(4097, 5, 0x20)]), None);

    // One that has no room empties the table.
    let huge = literal(true, Err("x"), &"x".repeat(5000), false);
    assert_eq!(found(&[&own, &huge, &with(62)]), None);
}

#[test]
fn blocks_are_found_in_their_frames() {
    let block = literal(false, Ok(4), "/aaa#a", true);
    let (one, two) = block.split_at(3);

    for (frames, expected) in [
        (
            [
                frame(HEADERS, 4 | 8, &[&[3], &*block, &[0; 3]].concat()),
                Vec::new(),
            ],
            true,
        ),
        (
            [
                frame(HEADERS, 4 | 32, &[&[0; 5], &*block].concat()),
                Vec::new(),
            ],
            true,
        ),
        (
            [
                frame(
                    HEADERS,
                    4 | 8 | 32,
                    &[&[2, 0, 0, 0, 0, 0], &*block, &[0; 2]].concat(),
                ),
                Vec::new(),
            ],
            true,
        ),
        ([frame(HEADERS, 0, one), frame(CONTINUATION, 4, two)], true),
        (
            [
                frame(HEADERS, 8, &[&[2], one, &[9; 2]].concat()),
                frame(CONTINUATION, 4, two),
            ],
            true,
        ),
        ([frame(HEADERS, 4, b""), frame(HEADERS, 4, &block)], true),
        ([frame(0, 0, &block), frame(6, 0, &block)], false),
    ] {
        for step in [1, 2, 5, 1000] {
            let mut targets = Targets::new();
            targets.scan(&mut PREFACE.to_vec());
            let mut bytes = frames.concat();

            // Not `any`, which stops at the first.
            let found = bytes
                .chunks_mut(step)
                .fold(false, |found, piece| targets.scan(piece) | found);
            assert_eq!((found, targets.lost), (expected, false), "{frames:?}");
        }
    }
}

/// The encoder of a real client uses the table as it likes; a table that is not the same as its own
/// would not have the entries that it names.
#[test]
fn the_table_of_a_real_client_is_followed() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    let targets = tokio::task::LocalSet::new().block_on(&runtime, async {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(Local, TokioIo::new(ours))
                .await
                .expect("handshake");
        tokio::task::spawn_local(connection);

        for number in 0_u32..95 {
            let mut request =
                http::Request::get(format!("http://a{}.example/{number}", number % 7));

            for field in 0..number % 9 {
                let value = "v#".repeat(((number * 37 + field * 61) % 150) as usize);
                request = request.header(format!("x-{}", (number + field * 5) % 40), value);
            }
            let request = request
                .body(http_body_util::Empty::<bytes::Bytes>::new())
                .expect("a request");
            tokio::task::spawn_local(sender.send_request(request));
        }
        let mut targets = Targets::new();
        let (mut heads, mut bytes) = (0, vec![0; 1000]);
        let mut counted = Heads::new(PREFACE.len());
        while heads < 95 {
            let length = theirs.read(&mut bytes).await.expect("bytes");
            let mut rest = &bytes[..length];
            while let Some((kind, _)) = counted.next(&mut rest) {
                heads += usize::from(kind == HEADERS);
            }
            assert!(!targets.scan(&mut bytes[..length]), "no target has one");
        }
        targets
    });
    assert!(!targets.lost);
    assert!(
        targets.fields.size > 2000 && targets.fields.size <= TABLE_SIZE,
        "{}",
        targets.fields.size
    );
}

proptest! {
    #[test]
    fn no_bytes_panic_and_the_table_is_bounded(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20),
    ) {
        let mut targets = Targets::new();
        targets.scan(&mut PREFACE.to_vec());

        for block in blocks {
            for kind in [HEADERS, CONTINUATION] {
                targets.scan(&mut frame(kind, block.first().copied().unwrap_or(4), &block));
            }
            prop_assert!(targets.fields.size <= TABLE_SIZE);
            prop_assert!(targets.fields.table.len() <= TABLE_SIZE / ENTRY);
        }
    }
}
