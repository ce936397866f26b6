//! Changes as data: what a source tells the controller, and what the controller asks to be written
//! back.

use std::{net::IpAddr, sync::Arc};

use super::{Key, Kind, NamedConfigMaps, PodLabels, RawObject, SecretPatch};

/// A change that a source (the mini cluster's hub, or a real API server's watch) hands to the
/// controller.
#[derive(Clone, Debug)]
pub enum Event {
    /// The object was made or changed.
    Apply(Arc<RawObject>),
    /// The object is gone.
    Delete(Key),
    /// These are all objects of the kind: whatever else was known is gone. Sent at start and after
    /// each resync.
    Reset(Kind, Vec<Arc<RawObject>>),
    /// The ConfigMaps with these names are known: the last reset had those that exist.
    ConfigMapsKnown(NamedConfigMaps),
    /// The Pods with these labels are known: the last reset had them.
    PodsKnown(PodLabels),
    /// The source is not allowed to read this kind: nothing of it will come until that changes.
    /// Objects that are already known stay.
    Refused(Kind),
}

impl Event {
    /// Returns the number of objects that it adds or removes.
    pub fn objects(&self) -> usize {
        match self {
            Self::Apply(_) | Self::Delete(_) => 1,
            Self::Reset(_, all) => all.len(),
            Self::Refused(_) | Self::PodsKnown(_) | Self::ConfigMapsKnown(_) => 0,
        }
    }
}

/// The object that an Event or a status is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectRef {
    /// Identity.
    pub key: Key,
    /// `metadata.uid`, so that a namesake made later does not inherit it.
    pub uid: Box<str>,
}

/// `type` of a Kubernetes Event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Information.
    Normal,
    /// Something the owner should look at.
    Warning,
}

/// A Kubernetes Event to be written on an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventNote {
    /// The object concerned.
    pub about: ObjectRef,
    /// Normal or Warning.
    pub event_type: EventType,
    /// A CamelCase word, stable for machines.
    pub reason: &'static str,
    /// One sentence for people, naming the field and the cause.
    pub message: Box<str>,
}

/// A status to be written, if it differs from what is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusPatch {
    /// `status.loadBalancer.ingress[].ip` of an Ingress.
    IngressAddresses {
        /// The Ingress.
        about: ObjectRef,
        /// The addresses, sorted; empty removes them.
        addresses: Vec<IpAddr>,
    },
}

/// One write back to the cluster that the objects come from.
#[derive(Clone, Debug)]
pub enum Write {
    /// A status.
    Status(StatusPatch),
    /// A certificate for its Secret.
    Secret(SecretPatch),
    /// A Kubernetes Event, and by how much to raise the count of one that exists: 1 for something
    /// that has happened, 0 for a state that may have been reported before this process led.
    Note(EventNote, u64),
}
