//! crater-domain
