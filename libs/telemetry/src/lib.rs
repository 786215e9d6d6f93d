//! crater-telemetry
