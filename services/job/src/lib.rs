//! crater-job
