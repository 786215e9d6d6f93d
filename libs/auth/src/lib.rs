//! crater-auth
