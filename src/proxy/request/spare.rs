//! Keeps the buffers of heads that are no longer needed, for the next ones of the same core. So an
//! idle connection holds none, and a busy core allocates none.

use std::cell::RefCell;

use super::fields::{Fields, Line};

/// The most buffers that are kept: more than requests begin at the same moment.
const MOST: usize = 32;
/// The largest buffer that is kept, in bytes.
const LARGEST: usize = 8 * 1024;

thread_local! {
    static SPARE: RefCell<Vec<(Vec<u8>, Vec<Line>)>> = const { RefCell::new(Vec::new()) };
}

/// Takes empty buffers for the text of a head and the places of its fields.
pub(crate) fn take() -> (Vec<u8>, Vec<Line>) {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives the buffers of a head back.
pub(crate) fn give(fields: Fields) {
    let (text, lines) = fields.recycle();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < MOST && text.capacity() <= LARGEST {
            spare.push((text, lines));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(capacity: usize) -> Fields {
        let mut text = Vec::with_capacity(capacity);
        text.push(b'x');
        Fields::of_head(b"secret", Vec::new(), text)
    }

    #[test]
    fn buffers_come_back_empty() {
        give(head(100));
        let (text, lines) = take();
        assert!(text.capacity() >= 100 && text.is_empty() && lines.is_empty());
        assert_eq!(take().0.capacity(), 0);
    }

    #[test]
    fn few_and_small_ones_are_kept() {
        (0..2 * MOST).for_each(|_| give(head(100)));
        give(head(2 * LARGEST));
        let kept = (0..2 * MOST).filter(|_| take().0.capacity() > 0).count();
        assert_eq!(kept, MOST);
    }
}
