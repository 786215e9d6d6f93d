//! A job as people write it, in flags and in a file, and the request that it becomes.

mod build;
mod file;
mod place;

pub use build::draft;
pub use file::JobFile;
pub use place::Places;
