//! File, environment and flags into one typed `Config`.
