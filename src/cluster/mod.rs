//! The replicated state machine behind `Propose` and `View`; today one device, local.
