//! Composition root: builds everything from `Config`, joins channels, supervises named tasks, drains.
