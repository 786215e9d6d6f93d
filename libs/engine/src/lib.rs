//! crater-engine
