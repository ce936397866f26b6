//! Files of request bodies: what fits, what does not, and that nothing is left.

use std::{
    fs,
    future::poll_fn,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use super::*;

/// A directory for files, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gatelet-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }

    fn spool(&self, most: usize) -> Arc<Spool> {
        Spool::of(&Settings {
            spool_directory: Some(self.0.clone()),
            max_spool_bytes: most,
            ..Settings::default()
        })
        .expect("a spool")
    }

    fn names(&self) -> usize {
        fs::read_dir(&self.0).expect("the directory").count()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn all(spooled: &mut Spooled) -> Vec<u8> {
    let mut bytes = Vec::new();
    while spooled.left() > 0 {
        let piece = poll_fn(|cx| spooled.poll_read(cx)).await;
        bytes.extend_from_slice(&piece.expect("a piece"));
    }
    bytes
}

#[test]
fn a_body_is_read_as_it_was_written_and_has_no_name() {
    let directory = Directory::new("spool-whole");
    let spool = directory.spool(1 << 20);
    let body: Vec<u8> = (0..3 * PIECE + 7).map(|at| (at % 251) as u8).collect();
    runtime().block_on(async {
        let mut spooled = spool.begin().await.expect("a file");
        for piece in body.chunks(PIECE - 1) {
            let written = spooled.write(Bytes::copy_from_slice(piece)).await;
            written.expect("room");
        }
        assert_eq!(directory.names(), 0);
        assert_eq!(spool.used(), body.len() as u64);
        assert_eq!(all(&mut spooled).await, body);
    });
    assert_eq!(spool.used(), 0, "the runtime has closed it");
}

#[test]
fn pieces_beyond_the_bound_are_refused_and_others_stay() {
    let directory = Directory::new("spool-bound");
    let spool = directory.spool(10);
    runtime().block_on(async {
        let mut one = spool.begin().await.expect("a file");
        one.write(Bytes::from_static(b"01234567"))
            .await
            .expect("room");
        let mut other = spool.begin().await.expect("a file");
        for spooled in [&mut one, &mut other] {
            let refused = spooled.write(Bytes::from_static(b"abc")).await;
            let kind = refused.expect_err("no room").kind();
            assert_eq!(kind, io::ErrorKind::StorageFull);
        }
        other.write(Bytes::from_static(b"ab")).await.expect("room");
        assert!(spool.begin().await.is_err(), "no byte is left");
        assert_eq!(all(&mut one).await, b"01234567");
        drop(one);

        // The file is closed by another thread.
        let end = Instant::now() + Duration::from_secs(10);
        while spool.used() != 2 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(spool.used(), 2);
        other.write(Bytes::from_static(b"abc")).await.expect("room");
    });
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let directory = Directory::new("spool-missing");
    check(&directory.0).expect("a directory");
    assert_eq!(directory.names(), 0);
    let missing = directory.0.join("missing");
    let error = check(&missing).expect_err("no directory").to_string();
    assert!(error.starts_with("proxy.spool_directory: "), "{error}");
    assert!(error.contains("missing"), "{error}");

    let file = directory.0.join("file");
    fs::write(&file, "").expect("a file");
    assert!(check(&file).is_err());
    let spool = Directory(missing).spool(10);
    let begun = runtime().block_on(async { spool.begin().await.is_ok() });
    assert!(!begun);
}
