//! crater-gateway
