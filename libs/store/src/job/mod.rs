//! The job service's tables.
