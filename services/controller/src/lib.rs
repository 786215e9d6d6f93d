//! crater-controller
