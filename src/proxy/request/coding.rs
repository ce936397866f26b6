//! Changes bodies of responses as they pass.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use super::{body::BodyError, compression::Compressor, grpc_web::Encoder};

pub(super) type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// A change of a body.
#[derive(Debug)]
pub(super) enum Coding {
    /// It is compressed.
    Compressed(Box<Compressor>),
    /// It becomes one of gRPC-Web.
    GrpcWeb(Encoder),
}

impl Coding {
    /// Returns true once all of the body has been returned.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Compressed(compressor) => compressor.is_over(),
            Self::GrpcWeb(encoder) => encoder.is_over(),
        }
    }

    /// Returns the next frame of the body that a source has.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: impl FnMut(&mut Context<'_>) -> Polled,
    ) -> Polled {
        match self {
            Self::Compressed(compressor) => compressor.poll(cx, source),
            Self::GrpcWeb(encoder) => encoder.poll(cx, source),
        }
    }
}
