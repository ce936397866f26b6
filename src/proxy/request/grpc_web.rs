//! The bodies of gRPC-Web
//! (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md>).

use std::task::{Context, Poll, ready};

use base64::{
    Engine as _,
    alphabet::STANDARD as ALPHABET,
    engine::{GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;

use super::coding::Polled;
use crate::routing::GrpcWebForm;

/// The flag of a message that has the trailers.
const TRAILERS: u8 = 0x80;

/// Decodes as clients of all kinds encode: bits beyond the last byte may have any value.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Makes a body of gRPC-Web from one of gRPC: its trailers become a message at its end.
#[derive(Debug)]
pub(super) struct Encoder {
    form: GrpcWebForm,
    is_over: bool,
}

impl Encoder {
    pub(super) fn new(form: GrpcWebForm) -> Self {
        let is_over = false;
        Self { form, is_over }
    }

    /// Returns true once all of the body has been returned.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns the next frame of the body that a source has.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut source: impl FnMut(&mut Context<'_>) -> Polled,
    ) -> Polled {
        if self.is_over {
            return Poll::Ready(None);
        }
        let frame = match ready!(source(cx)) {
            Some(Ok(frame)) => frame,
            ended => {
                self.is_over = true;
                return Poll::Ready(ended);
            }
        };

        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                self.is_over = true;
                let trailers = frame.into_trailers().unwrap_or_default();
                message(&trailers).into()
            }
        };
        Poll::Ready(Some(Ok(Frame::data(match self.form {
            GrpcWebForm::Binary => data,
            // Each piece is padded: a client gets all that is there.
            GrpcWebForm::Text => STANDARD.encode(data).into(),
        }))))
    }
}

/// Returns trailers as a message.
fn message(trailers: &HeaderMap) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in trailers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [&[TRAILERS][..], &length.to_be_bytes(), &text].concat()
}

/// Decodes a body in Base64 as it passes. Clients may encode it in several parts, each of which
/// ends with padding.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The characters of a group that is not whole yet.
    kept: Vec<u8>,
}

/// The error of a body that is no Base64.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoBase64;

impl Decoder {
    /// Returns the bytes that a further piece completes.
    ///
    /// # Errors
    /// It has something else than Base64.
    pub(super) fn add(&mut self, piece: &[u8]) -> Result<Bytes, NoBase64> {
        let characters = piece.iter().filter(|byte| !matches!(byte, b'\r' | b'\n'));
        self.kept.extend(characters);
        let whole = self.kept.len() / 4 * 4;

        let mut decoded = Vec::with_capacity(whole / 4 * 3);
        let mut rest = &self.kept[..whole];

        while !rest.is_empty() {
            let padded = memchr::memchr(b'=', rest).map(|at| (at / 4 + 1) * 4);
            let (part, behind) = rest.split_at(padded.unwrap_or(rest.len()));
            let added = LENIENT.decode_vec(part, &mut decoded);
            added.map_err(|_invalid| NoBase64)?;
            rest = behind;
        }

        self.kept.drain(..whole);
        Ok(decoded.into())
    }

    /// Returns true if no group is incomplete.
    pub(super) fn is_whole(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use http::HeaderValue;

    use super::*;

    fn encoded(form: GrpcWebForm) -> Vec<Bytes> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let mut frames = vec![
            Frame::trailers(trailers),
            Frame::data(Bytes::from_static(b"some")),
        ];
        let mut encoder = Encoder::new(form);
        let mut cx = Context::from_waker(Waker::noop());
        let mut out = Vec::new();
        while !encoder.is_over() {
            match encoder.poll(&mut cx, |_cx| Poll::Ready(frames.pop().map(Ok))) {
                Poll::Ready(Some(Ok(frame))) => out.extend(frame.into_data().ok()),
                other => panic!("{other:?}"),
            }
        }
        out
    }

    #[test]
    fn trailers_become_the_last_message() {
        const LAST: &[u8] = b"\x80\x00\x00\x00\x10grpc-status: 0\r\n";
        assert_eq!(encoded(GrpcWebForm::Binary), [&b"some"[..], LAST]);
        let text = encoded(GrpcWebForm::Text);
        assert_eq!(text, [b"c29tZQ==", STANDARD.encode(LAST).as_bytes()]);
    }

    #[test]
    fn base64_may_come_in_pieces_of_any_size() {
        let text = b"c29tZQ==IG1v\r\ncmU=Lg==";
        for size in 1..=text.len() {
            let mut decoder = Decoder::default();
            let pieces = text.chunks(size);
            let decoded: Vec<Bytes> = pieces
                .map(|piece| decoder.add(piece).expect("Base64"))
                .collect();
            assert_eq!(decoded.concat(), b"some more.", "{size}");
            assert!(decoder.is_whole());
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in ["c2=t", "====", "a b=", "c29t\x00AAA", "=AAA"] {
            let added = Decoder::default().add(text.as_bytes());
            assert_eq!(added, Err(NoBase64), "{text}");
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoder.add(b"c29tZ").expect("Base64"), "som");
        assert!(!decoder.is_whole());
        // Nobody keeps the bits behind the last byte.
        assert_eq!(Decoder::default().add(b"c29tZR==").expect("Base64"), "some");
    }
}
