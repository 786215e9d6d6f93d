//! The contract: generated types, clients and servers, the descriptor set, the access rule of every method, the two
//! translations at a service's edge: proto ⇄ domain and error ⇄ status; and the form of page tokens. Nothing else.

pub mod access;
pub mod convert;
pub mod page;
pub mod status;

#[allow(clippy::all, clippy::unwrap_used, clippy::panic, missing_docs, rustdoc::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/contract.rs"));
}

pub use generated::crater::{common, job, quota, scheduling, user};

/// The encoded `FileDescriptorSet` of the whole contract, for reflection and for printing messages as JSON.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
