//! crater-replay
