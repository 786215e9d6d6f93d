//! crater-api
