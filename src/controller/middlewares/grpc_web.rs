//! The middleware `grpcWeb`.

use std::sync::Arc;

use super::{Fields, Making, Problem};
use crate::routing::{GrpcWeb, RequestStep};

/// The most origins.
const MAX_ORIGINS: usize = 64;

impl Making<'_> {
    pub(super) fn grpc_web(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        const OF: &str = "allowOrigins";
        self.unchanged(&fields, &["content-type", "origin"])?;
        let origins = fields.texts(OF)?;
        if origins.len() > MAX_ORIGINS {
            return Err(fields.invalid(OF, "there are more than 64 origins"));
        }
        let origins = origins.into_iter().map(Into::into).collect();
        fields.finish()?;

        let from = self.from();
        self.step(RequestStep::GrpcWeb(Arc::new(GrpcWeb { from, origins })));
        Ok(())
    }
}
