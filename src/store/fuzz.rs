//! Entry points for `fuzz/`: files that may be damaged. Each panics when an invariant does not
//! hold.

use super::{
    mirror::{self, Condition},
    record,
};

/// Reads a mirror file of any bytes.
pub fn mirror(data: &[u8]) {
    let contents = mirror::read(data);
    assert!(contents.end <= data.len() as u64);
    if contents.condition != Condition::Damaged {
        // Only the end was left out.
        let kept = mirror::read(&data[..contents.end as usize]);
        assert_eq!(kept.condition, Condition::Whole);
        assert_eq!(kept.into_live(), contents.into_live());
    }
}

/// Writes a mirror file, damages one byte, and reads it. All other records are still there.
pub fn damaged_mirror(data: &[u8]) {
    let [high, low, mask, values @ ..] = data else {
        return;
    };

    let mut file = Vec::new();
    let mut ends = Vec::new();
    for (number, value) in values.chunks(7).enumerate() {
        let op = (format!("key/{number}"), Some(value.to_vec()));
        mirror::encode(&mut file, 1, &[op]);
        ends.push(file.len());
    }

    if file.is_empty() || *mask == 0 {
        return;
    }

    let at = usize::from(u16::from_be_bytes([*high, *low])) % file.len();
    file[at] ^= mask;

    let damaged = ends.partition_point(|end| *end <= at);
    let contents = mirror::read(&file);
    assert_ne!(contents.condition, Condition::Whole);
    let live = contents.into_live();

    for (number, value) in values
        .chunks(7)
        .enumerate()
        .filter(|(number, _)| *number != damaged)
    {
        assert_eq!(
            live.get(&format!("key/{number}")).map(Vec::as_slice),
            Some(value)
        );
    }
}

/// Opens a record of the database.
pub fn record(data: &[u8]) {
    drop(record::open("key", data));

    let sealed = record::seal(data);
    let opened = record::open("key", &sealed).expect("it was just sealed");
    assert_eq!(opened, data);
}
