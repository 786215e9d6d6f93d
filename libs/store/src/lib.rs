//! crater-store
