use super::*;

#[test]
fn durations_as_people_write_them() {
    for (text, millis) in [
        ("30s", 30_000),
        ("500ms", 500),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
        ("15", 15_000),
        ("0", 0),
    ] {
        assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for text in [
        "",
        "s",
        "3x",
        "-1s",
        "1.5s",
        "30 s",
        "99999999999999999999s",
        "18446744073709551615d",
    ] {
        assert!(duration(text).is_err(), "{text}");
    }
}

#[test]
fn sizes_as_people_write_them() {
    for (text, size) in [
        ("512", 512),
        ("64KiB", 65_536),
        ("1m", 1_048_576),
        ("2 GiB", 2_147_483_648),
        ("0", 0),
    ] {
        assert_eq!(bytes(text), Ok(size), "{text}");
    }
    for text in ["", "k", "1TB", "-1", "1.5m", "99999999999999999999"] {
        assert!(bytes(text).is_err(), "{text}");
    }
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    for text in [
        "0s", "500ms", "30s", "75s", "10m", "10m30s", "2d", "1h30m", "1s250ms",
    ] {
        assert_eq!(Span(duration(text).expect(text)).to_string(), text);
    }
    for text in ["0", "1023", "32KiB", "1MiB", "3GiB", "1025"] {
        assert_eq!(Size(bytes(text).expect(text)).to_string(), text);
    }
}
