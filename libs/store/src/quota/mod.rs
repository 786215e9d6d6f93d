//! The quota service's tables.
