//! The commands that are more than a question to a running gatelet: `check`, `expose` and
//! `kubeconfig --user`.

mod check;
mod expose;
mod kubeconfig;

pub use check::{
    CheckFinding, CheckReason, CheckReport, KindReport, ObjectAnnotations, Outcome, ReadError,
    check,
};
pub use expose::{Device, Entrance, ExposeError, ExposeTls, Exposure, Written, device, expose};
pub use kubeconfig::{NewUser, NewUserError, new_user};
