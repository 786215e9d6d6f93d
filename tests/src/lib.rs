//! crater-tests
