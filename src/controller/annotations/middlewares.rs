//! The annotation that names middlewares of Traefik.

use super::row::{Annotation, TRAEFIK, row};

/// The rows.
pub(super) const ROWS: &[Annotation] = &[row(
    &[TRAEFIK],
    "router.middlewares",
    "`NAMESPACE-NAME@kubernetescrd`, separated by commas",
    "The Middlewares (`traefik.io/v1alpha1`) take their steps on the requests of the paths, in \
     this order, before those of other annotations that let in or rewrite.",
    |values, name, value| {
        values.middlewares = (!value.is_empty()).then(|| (name.into(), value.into()));
        Ok(())
    },
)
.guard()
.differs(
    "503, not 404, for a Middleware that does not exist or is not valid. `docs/middlewares.md` \
     has the kinds.",
)];
