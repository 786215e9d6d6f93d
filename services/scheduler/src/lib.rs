//! crater-scheduler
