//! The user service's tables.
