//! crater-service
