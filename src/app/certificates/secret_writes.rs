//! Decides when the Secret of a certificate is written. A Secret that is deleted or edited comes
//! back each time, but a program that keeps changing it does not make gatelet write without end.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// The shortest pause between two writes of the same content to a Secret.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(600);
/// The time without a change after a pause that makes the next pause the shortest again.
const QUIET: Duration = Duration::from_secs(60);

/// The last writes of each Secret, by the id of its certificate.
#[derive(Debug, Default)]
pub(super) struct SecretWrites(HashMap<Arc<str>, Last>);

/// The last write of a Secret.
#[derive(Debug)]
struct Last {
    /// Hash of the content.
    content: u64,
    at: Instant,
    /// The pause after it.
    pause: Duration,
}

impl SecretWrites {
    /// Records that a Secret with other content than `content` (a hash) is written now. If it was
    /// written a short time ago, returns the time to write it again instead.
    pub(super) fn begin(
        &mut self,
        id: &Arc<str>,
        content: u64,
        now: Instant,
    ) -> Result<(), Instant> {
        let last = self.0.get(id).filter(|last| last.content == content);
        let pause = match last {
            Some(last) if now < last.at + last.pause => return Err(last.at + last.pause),
            Some(last) if now < last.at + last.pause + QUIET => (last.pause * 2).min(LONGEST),
            _ => FIRST,
        };

        let last = Last {
            content,
            at: now,
            pause,
        };
        self.0.insert(id.clone(), last);
        Ok(())
    }

    /// Forgets the certificates that are not desired any more.
    pub(super) fn retain(&mut self, is_desired: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| is_desired(id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_grow_while_somebody_fights_and_end_after() {
        let (id, mut writes) = (Arc::<str>::from("default/web"), SecretWrites::default());
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        assert_eq!(writes.begin(&id, 1, now), Ok(()));
        for _ in 0..14 {
            let next = writes.begin(&id, 1, now).expect_err("written already");
            pauses.push((next - now).as_millis());
            now = next;
            assert_eq!(writes.begin(&id, 1, now), Ok(()));
        }
        assert_eq!(pauses[..4], [250, 500, 1_000, 2_000]);
        assert_eq!(pauses[11..], [512_000, 600_000, 600_000]);

        // A renewed certificate does not wait, nor does another Secret.
        assert_eq!(writes.begin(&id, 2, now), Ok(()));
        assert_eq!(writes.begin(&"default/other".into(), 1, now), Ok(()));

        now += FIRST + QUIET;
        assert_eq!(writes.begin(&id, 2, now), Ok(()));
        assert_eq!(writes.begin(&id, 2, now), Err(now + FIRST));
    }

    #[test]
    fn what_is_not_desired_any_more_is_forgotten() {
        let (id, mut writes) = (Arc::<str>::from("default/web"), SecretWrites::default());
        let now = Instant::now();
        assert_eq!(writes.begin(&id, 1, now), Ok(()));
        writes.retain(|id| id == "default/web");
        assert!(writes.begin(&id, 1, now).is_err());
        writes.retain(|_| false);
        assert_eq!(writes.begin(&id, 1, now), Ok(()));
    }
}
