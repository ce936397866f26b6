//! Holds the effects of ConfigMaps on Ingresses: that of ingress-nginx on every one, and those of
//! IngressClasses on theirs.

use std::sync::Arc;

use super::{Finding, Reason, Settings, annotations::GlobalAnnotation};
use crate::routing::Refusal;

/// The effects of the ConfigMap.
#[derive(Debug, Default)]
pub(super) struct GlobalSettings {
    /// The annotations that apply to every Ingress.
    pub(super) annotations: Vec<GlobalAnnotation>,
    /// The reason why every path is closed, with its finding for each Ingress.
    pub(super) closed: Option<(Reason, Refusal, String)>,
    /// True if there is a ConfigMap.
    pub(super) is_read: bool,
    /// The ConfigMaps that it names.
    pub(super) maps: Vec<(Arc<str>, Arc<str>)>,
    /// Findings about the ConfigMap.
    pub(super) findings: Vec<Finding>,
}

impl GlobalSettings {
    /// Returns true if the settings or the ConfigMap name this one.
    pub(super) fn names(&self, settings: &Settings, map: &(Arc<str>, Arc<str>)) -> bool {
        settings.nginx_configmap.as_ref() == Some(map) || self.maps.contains(map)
    }
}

/// The effects of the parameters of an IngressClass on its Ingresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClassSettings {
    /// The ConfigMap.
    pub(super) map: Option<(Arc<str>, Arc<str>)>,
    /// The annotations that apply to its Ingresses without them.
    pub(super) annotations: Vec<GlobalAnnotation>,
    /// The reason why the paths are closed, with its finding for each Ingress.
    pub(super) closed: Option<(Reason, Refusal, String)>,
    /// True if it is not known yet whether the ConfigMap exists.
    pub(super) waits: bool,
    /// Findings about the class and the ConfigMap.
    pub(super) findings: Vec<Finding>,
}
