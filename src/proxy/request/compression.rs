//! Compresses bodies of responses as they pass.

use std::{
    cell::Cell,
    io::Write,
    task::{Context, Poll},
};

use bytes::Bytes;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http_body::Frame;

use super::coding::Polled;
use crate::{
    proxy::memory::{self, Pressure},
    routing::ContentCoding,
};

/// The most bodies that a core compresses at a time. Each takes about 350 kB.
const MAX_AT_A_TIME: usize = 32;
/// The size from which compressed bytes are sent, in bytes.
const PIECE: usize = 8 * 1024;
/// The most bytes that are compressed at a time: other connections wait.
const MOST_AT_A_TIME: usize = 64 * 1024;

thread_local! {
    /// The bodies that this core compresses now.
    static UNDER_WAY: Cell<usize> = const { Cell::new(0) };
}

/// The place of a body among those that a core compresses.
#[derive(Debug)]
struct Slot(());

impl Slot {
    /// Takes a place. `None` if too many bodies are under way, or little memory is left.
    fn take() -> Option<Self> {
        let known = UNDER_WAY.get();
        let is_free = known < MAX_AT_A_TIME && memory::pressure() == Pressure::Low;
        is_free.then(|| {
            UNDER_WAY.set(known + 1);
            Self(())
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        UNDER_WAY.set(UNDER_WAY.get() - 1);
    }
}

/// A body that is compressed as it passes.
#[derive(Debug)]
pub(super) struct Compressor {
    /// `None` once all of the body has passed.
    encoder: Option<Encoder>,
    /// True if the encoder keeps bytes that the client could have.
    keeps: bool,
    trailers: Option<HeaderMap>,
    _slot: Slot,
}

impl Compressor {
    /// Begins a body. `None` if it should be sent as it is.
    pub(super) fn new(coding: ContentCoding) -> Option<Self> {
        let slot = Slot::take()?;
        Some(Self {
            encoder: Some(Encoder::new(coding)?),
            keeps: false,
            trailers: None,
            _slot: slot,
        })
    }

    /// Compresses a whole body.
    pub(super) fn whole(mut self, body: &[u8]) -> Bytes {
        self.add(body);
        self.end()
    }

    /// Returns true once all of the body has been returned.
    pub(super) fn is_over(&self) -> bool {
        self.encoder.is_none() && self.trailers.is_none()
    }

    /// Returns the next compressed frame of a source.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut source: impl FnMut(&mut Context<'_>) -> Polled,
    ) -> Polled {
        let mut read = 0;
        loop {
            let Some(encoder) = &self.encoder else {
                let trailers = self.trailers.take();
                return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
            };
            if encoder.kept().len() >= PIECE || read >= MOST_AT_A_TIME {
                return self.flushed();
            }

            match source(cx) {
                // What is there may be all that the client waits for.
                Poll::Pending if self.keeps => return self.flushed(),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        read += data.len();
                        self.add(&data);
                    }
                    Err(frame) => {
                        self.trailers = frame.into_trailers().ok();
                        return Poll::Ready(Some(Ok(Frame::data(self.end()))));
                    }
                },
                Poll::Ready(None) => return Poll::Ready(Some(Ok(Frame::data(self.end())))),
            }
        }
    }

    fn add(&mut self, data: &[u8]) {
        if let Some(encoder) = &mut self.encoder {
            let written = encoder.writer().write_all(data);
            written.expect("a list takes all bytes");
            self.keeps |= !data.is_empty();
        }
    }

    /// Returns all that the client can have by now.
    fn flushed(&mut self) -> Polled {
        let Some(encoder) = &mut self.encoder else {
            return Poll::Ready(None);
        };
        encoder.writer().flush().expect("a list takes all bytes");
        self.keeps = false;
        let bytes = encoder.take();
        Poll::Ready(Some(Ok(Frame::data(bytes.into()))))
    }

    /// Returns the end of the compressed body.
    fn end(&mut self) -> Bytes {
        let encoder = self.encoder.take();
        encoder.map(Encoder::end).unwrap_or_default().into()
    }
}

/// The encoder of a coding, with what it has encoded.
#[derive(Debug)]
enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    #[cfg(feature = "brotli")]
    Brotli(Box<brotli::Brotli>),
}

impl Encoder {
    /// Creates one; `None` if this build does not have the coding.
    fn new(coding: ContentCoding) -> Option<Self> {
        match coding {
            ContentCoding::Gzip(level) => {
                let level = flate2::Compression::new(u32::from(level));
                Some(Self::Gzip(GzEncoder::new(Vec::new(), level)))
            }
            #[cfg(feature = "brotli")]
            ContentCoding::Brotli(level) => {
                Some(Self::Brotli(Box::new(brotli::Brotli::new(level))))
            }
            #[cfg(not(feature = "brotli"))]
            ContentCoding::Brotli(_) => None,
        }
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            #[cfg(feature = "brotli")]
            Self::Brotli(encoder) => &mut encoder.0,
        }
    }

    /// Returns the bytes that are encoded.
    fn kept(&self) -> &Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.get_ref(),
            #[cfg(feature = "brotli")]
            Self::Brotli(encoder) => encoder.0.get_ref(),
        }
    }

    /// Takes the bytes that are encoded.
    fn take(&mut self) -> Vec<u8> {
        let kept = match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            #[cfg(feature = "brotli")]
            Self::Brotli(encoder) => encoder.0.get_mut(),
        };
        std::mem::take(kept)
    }

    /// Returns the rest.
    fn end(self) -> Vec<u8> {
        match self {
            Self::Gzip(encoder) => encoder.finish().expect("a list takes all bytes"),
            #[cfg(feature = "brotli")]
            Self::Brotli(encoder) => encoder.0.into_inner(),
        }
    }
}

#[cfg(feature = "brotli")]
mod brotli {
    use std::fmt;

    use brotli::CompressorWriter;

    /// The window, as a power of two bytes: what an encoder keeps is a few times that.
    const WINDOW: u32 = 16;
    /// Bytes that are handed on at a time.
    const BUFFER: usize = 4096;

    /// An encoder of brotli.
    pub(super) struct Brotli(pub(super) CompressorWriter<Vec<u8>>);

    impl Brotli {
        pub(super) fn new(level: u8) -> Self {
            let level = u32::from(level);
            Self(CompressorWriter::new(Vec::new(), BUFFER, level, WINDOW))
        }
    }

    impl fmt::Debug for Brotli {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Brotli").finish_non_exhaustive()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, io::Read, task::Waker};

    use flate2::read::GzDecoder;

    use super::*;

    const GZIP: ContentCoding = ContentCoding::Gzip(1);
    /// The codings of this build.
    const CODINGS: &[ContentCoding] = &[
        GZIP,
        #[cfg(feature = "brotli")]
        ContentCoding::Brotli(4),
    ];

    /// Feeds pieces; an empty one is a pause. Returns the frames.
    fn frames(coding: ContentCoding, pieces: &[&[u8]]) -> Vec<Bytes> {
        let mut pieces: VecDeque<&[u8]> = pieces.iter().copied().collect();
        let mut cx = Context::from_waker(Waker::noop());
        let mut compressor = Compressor::new(coding).expect("a place");
        let mut frames = Vec::new();
        let mut pauses = 0;
        while !compressor.is_over() {
            let polled = compressor.poll(&mut cx, |_cx| match pieces.pop_front() {
                Some([]) => Poll::Pending,
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(piece))))),
                None => Poll::Ready(None),
            });
            match polled {
                Poll::Ready(Some(Ok(frame))) => frames.extend(frame.into_data().ok()),
                Poll::Pending => pauses += 1,
                Poll::Ready(_) => panic!("the body broke off"),
            }
            assert!(pauses < 100);
        }
        frames
    }

    fn decoded(coding: ContentCoding, frames: &[Bytes]) -> Vec<u8> {
        let (all, mut out) = (frames.concat(), Vec::new());
        // What is there, even if the end is missing.
        let _ = match coding {
            ContentCoding::Gzip(_) => GzDecoder::new(&*all).read_to_end(&mut out),
            #[cfg(feature = "brotli")]
            ContentCoding::Brotli(_) => {
                ::brotli::Decompressor::new(&*all, 4096).read_to_end(&mut out)
            }
            #[cfg(not(feature = "brotli"))]
            ContentCoding::Brotli(_) => unreachable!("this build does not have it"),
        };
        out
    }

    #[test]
    fn a_client_gets_at_a_pause_all_that_is_there() {
        for coding in CODINGS {
            let frames = frames(*coding, &[b"one", b"", b"two", b"", b"", b"three"]);
            assert_eq!(decoded(*coding, &frames[..1]), b"one");
            assert_eq!(decoded(*coding, &frames[..2]), b"onetwo");
            assert_eq!(decoded(*coding, &frames), b"onetwothree");
        }
    }

    #[test]
    fn large_bodies_come_in_pieces() {
        let mut random = 1_u32;
        let mut noise = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        };
        let dense: Vec<u8> = (0..100_000).map(|_| noise()).collect();
        let sparse = vec![b'a'; 1_000_000];
        for coding in CODINGS {
            for (body, at_least) in [(&dense, 2), (&sparse, 1)] {
                let pieces: Vec<&[u8]> = body.chunks(1000).collect();
                let frames = frames(*coding, &pieces);
                assert!(frames.len() >= at_least);
                assert_eq!(decoded(*coding, &frames), **body);
            }
            let whole = Compressor::new(*coding).expect("a place").whole(&sparse);
            assert_eq!(decoded(*coding, &[whole]), sparse);
        }
    }

    #[test]
    fn trailers_follow_the_body() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x", http::HeaderValue::from_static("y"));
        let mut cx = Context::from_waker(Waker::noop());
        let mut compressor = Compressor::new(GZIP).expect("a place");
        let mut next = || {
            let trailers = trailers.clone();
            compressor.poll(&mut cx, move |_cx| {
                Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))))
            })
        };
        let Poll::Ready(Some(Ok(end))) = next() else {
            panic!("no end")
        };
        assert!(end.is_data());
        let Poll::Ready(Some(Ok(last))) = next() else {
            panic!("no trailers")
        };
        assert_eq!(last.into_trailers().ok(), Some(trailers.clone()));
        assert!(compressor.is_over());
    }

    #[test]
    fn a_core_compresses_few_bodies_at_a_time() {
        let all: Vec<Compressor> = (0..MAX_AT_A_TIME)
            .map(|_| Compressor::new(GZIP).expect("a place"))
            .collect();
        assert!(Compressor::new(GZIP).is_none());
        drop(all);
        assert!(Compressor::new(GZIP).is_some());
    }
}
