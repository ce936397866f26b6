//! The annotations that name middlewares of Traefik.

use super::{
    row::{Annotation, TRAEFIK, row},
    value::InvalidValue,
    values::AnnotationValues,
};

/// The form of the values, for people.
const LIST: &str = "`NAMESPACE-NAME@kubernetescrd`, separated by commas";

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        &[TRAEFIK],
        "router.middlewares",
        LIST,
        "The Middlewares (`traefik.io/v1alpha1`) take their steps on the requests of the paths, in \
         this order, before those of other annotations that let in or rewrite.",
        names,
    )
    .guard()
    .differs(
        "503, not 404, for a Middleware that does not exist or is not valid. \
         `docs/middlewares.md` has the kinds.",
    ),
    row(
        &[TRAEFIK],
        "service.middlewares",
        LIST,
        "On a Service: the same for all paths to the Service, behind the Middlewares of the \
         Ingress.",
        names,
    )
    .guard()
    .of_services()
    .differs(
        "503, not 404, for a Middleware that does not exist or is not valid. Ports of layer 4 are \
         not opened, and a canary takes no requests.",
    ),
];

/// Takes the list of middlewares.
fn names(values: &mut AnnotationValues, name: &str, value: &str) -> Result<(), InvalidValue> {
    values.middlewares = (!value.is_empty()).then(|| (name.into(), value.into()));
    Ok(())
}
