//! crater
