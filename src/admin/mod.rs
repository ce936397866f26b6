//! Health, readiness, metrics, and explain of the live table.
