//! Placement under arrival: tasks come one by one, stay for ever, and are dropped if they fit nowhere.

pub mod command;
