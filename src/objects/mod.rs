//! Kubernetes objects as gatelet needs them: the raw object (metadata parsed, body kept as bytes),
//! slim views of the kinds that are read, changes as data, and the traits that clusters implement.

pub mod change;
mod decode;
pub mod documents;
pub mod kind;
mod note;
pub mod raw;
pub mod secret;
mod selection;
pub mod slim;
pub mod texts;
pub mod traits;

pub use change::{Event, EventNote, EventType, ObjectRef, StatusPatch, Write};
pub use kind::{ISSUER_LABEL, Kind};
pub use raw::{Key, Meta, ObjectError, RawObject};
pub use secret::SecretPatch;
pub use selection::{NamedConfigMaps, PodLabels, Selection};
pub use texts::Texts;
pub use traits::{
    Change, Committed, Expired, Op, Proposal, Propose, ProposeError, Revision, Snapshot, View,
    Watcher, WriteBack,
};
