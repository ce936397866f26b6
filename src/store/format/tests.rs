use super::*;
use crate::{
    app::start::state::AREAS,
    store::{Batch, ClosedError, OpenError, SealKeys, open, read_closed, tests::Dir},
};

#[test]
fn a_directory_of_a_newer_gatelet_is_refused_and_not_changed() {
    let dir = Dir::new("format");
    let (store, _good) = open(&dir.0, AREAS).expect("a new directory");
    store
        .commit(Batch::new().put("ca/key", "secret"))
        .expect("it is stored");
    drop(store);
    assert_eq!(read(&dir.0), Some(FORMAT));

    fs::write(dir.0.join("format"), "3\n").expect("it is ours");
    let mirror = fs::read(dir.0.join("mirror")).expect("the mirror");
    let error = open(&dir.0, AREAS).expect_err("it is newer");
    assert!(
        matches!(error, OpenError::Newer { format: 3, .. }),
        "{error}"
    );
    let error = read_closed(&dir.0, AREAS, &SealKeys::default()).expect_err("it is newer");
    assert!(
        matches!(error, ClosedError::Newer { format: 3, .. }),
        "{error}"
    );
    assert_eq!(fs::read(dir.0.join("mirror")).expect("the mirror"), mirror);
    assert_eq!(read(&dir.0), Some(3));

    // Without a note, or with half of one, it is that of this gatelet or an older one.
    for text in ["", "1\n", "2\n"] {
        fs::write(dir.0.join("format"), text).expect("it is ours");
        let (store, _good) = open(&dir.0, AREAS).expect("it is known");
        assert!(store.get("ca/key").expect("it can be read").is_some());
        drop(store);
        assert_eq!(read(&dir.0), Some(FORMAT));
    }
}
