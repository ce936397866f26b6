//! Logging set-up, metric families, the access-log record.
