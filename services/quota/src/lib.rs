//! crater-quota
