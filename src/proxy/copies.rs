//! The bounds of copies of requests for mirrors, on one core. A copy that does not fit is left out:
//! the original never waits for one.

use std::{cell::Cell, rc::Rc};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::memory::{self, Pressure};

/// The most copies that are under way.
const MAX_RUNNING: usize = 128;
/// The most bytes of a body that is copied.
const MAX_BODY: usize = 64 * 1024;
/// The most bytes of all bodies that are kept.
const MAX_KEPT: usize = 2 * 1024 * 1024;

/// The copies of a core.
#[derive(Debug, Default)]
pub(super) struct Copies {
    running: Cell<usize>,
    /// Bytes of bodies.
    kept: Cell<usize>,
}

/// The place of a copy among those of its core.
#[derive(Debug)]
pub(super) struct CopyPlace {
    of: Rc<Copies>,
    kept: usize,
}

/// A body that is collected for a copy while the original is sent. If it is dropped before its end,
/// the copy is given up.
#[derive(Debug)]
pub(super) struct BodyCopy {
    collected: Vec<u8>,
    place: CopyPlace,
    to: oneshot::Sender<CopiedBody>,
}

/// A body that is complete, with the place of its copy.
pub(super) type CopiedBody = (Bytes, CopyPlace);

impl Copies {
    /// Returns the place of a further copy; `None` if there are too many, or if little memory is
    /// left.
    pub(super) fn enter(self: &Rc<Self>) -> Option<CopyPlace> {
        let running = self.running.get();
        if running >= MAX_RUNNING || memory::pressure() > Pressure::Low {
            return None;
        }
        self.running.set(running + 1);
        Some(CopyPlace {
            of: self.clone(),
            kept: 0,
        })
    }
}

impl CopyPlace {
    /// Takes room for further bytes of a body. Returns false if there is none.
    fn keep(&mut self, bytes: usize) -> bool {
        let all = &self.of.kept;
        let fits = self.kept + bytes <= MAX_BODY && all.get() + bytes <= MAX_KEPT;
        if fits {
            self.kept += bytes;
            all.set(all.get() + bytes);
        }
        fits
    }
}

impl Drop for CopyPlace {
    fn drop(&mut self) {
        let Copies { running, kept } = &*self.of;
        running.set(running.get() - 1);
        kept.set(kept.get() - self.kept);
    }
}

impl BodyCopy {
    /// Creates the collector of a body, and what returns it once it is complete. `None` if its
    /// length is known to be too large.
    pub(super) fn new(
        place: CopyPlace,
        length: Option<u64>,
    ) -> Option<(Self, oneshot::Receiver<CopiedBody>)> {
        if length.is_some_and(|length| length > MAX_BODY as u64) {
            return None;
        }
        let (to, from) = oneshot::channel();
        let collected = Vec::new();
        let body = Self {
            collected,
            place,
            to,
        };
        Some((body, from))
    }

    /// Adds a piece. Returns false if it does not fit.
    pub(super) fn add(&mut self, piece: &[u8]) -> bool {
        let fits = self.place.keep(piece.len());
        if fits {
            self.collected.extend_from_slice(piece);
        }
        fits
    }

    /// Hands over the complete body.
    pub(super) fn finish(self) {
        // Without a receiver the core ends.
        let _ = self.to.send((self.collected.into(), self.place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_have_a_bounded_number() {
        let copies = Rc::new(Copies::default());
        let mut places: Vec<CopyPlace> = (0..MAX_RUNNING)
            .map(|_| copies.enter().expect("a place"))
            .collect();
        assert!(copies.enter().is_none());

        places.pop();
        assert!(copies.enter().is_some(), "a place that is free again");
    }

    #[test]
    fn bodies_have_a_bounded_length() {
        let copies = Rc::new(Copies::default());
        let enter = || copies.enter().expect("a place");
        assert!(BodyCopy::new(enter(), Some(MAX_BODY as u64 + 1)).is_none());

        let (mut body, _whole) = BodyCopy::new(enter(), None).expect("a body");
        assert!(body.add(&vec![0; MAX_BODY]));
        assert!(!body.add(&[0]));
        drop(body);
        assert_eq!((copies.running.get(), copies.kept.get()), (0, 0));
    }

    #[test]
    fn all_bodies_together_have_a_bounded_length() {
        let copies = Rc::new(Copies::default());
        let piece = vec![0; MAX_BODY];
        let mut bodies: Vec<_> = (0..MAX_KEPT / MAX_BODY)
            .map(|_| {
                let place = copies.enter().expect("a place");
                let (mut body, whole) = BodyCopy::new(place, None).expect("a body");
                assert!(body.add(&piece));
                (body, whole)
            })
            .collect();
        let place = copies.enter().expect("a place");
        let (mut further, _whole) = BodyCopy::new(place, None).expect("a body");
        assert!(!further.add(&[0]));

        // A body that is handed over is kept until its copy is sent.
        let (body, mut whole) = bodies.pop().expect("a body");
        body.finish();
        let (bytes, place) = whole.try_recv().expect("the body");
        assert_eq!(bytes.len(), MAX_BODY);
        assert!(!further.add(&[0]));
        drop(place);
        assert!(further.add(&[0]));
    }
}
