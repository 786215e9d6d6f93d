//! crater-user
