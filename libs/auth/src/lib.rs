//! Who calls, and whether they may: tokens, principals, and the permission of every method.
//!
//! An [`Authority`] holds what a process knows of identities: the keys that verify access tokens, the mesh key that the
//! services share, and the [`Directory`] of users that the user service streams. Its [`Authority::layer`] guards a
//! service, its [`Authority::edge_layer`] the gateway; both ask the same questions, so that neither trusts the other.
//! Handlers get a [`Caller`] and ask it about accounts.
//!
//! It issues tokens ([`Signer`]) but knows no password and no session store: those are the user service's.

mod authority;
mod believed;
mod caller;
mod client;
mod directory;
mod error;
mod follow;
mod keys;
mod layer;
mod mesh;
mod token;

pub use authority::Authority;
pub use caller::{Caller, Principal, Role};
pub use client::{Authenticated, ServiceIdentity};
pub use directory::{Directory, STALE_AFTER};
pub use error::Error;
pub use keys::{KeySet, Signer, generate_seed};
pub use layer::{AuthLayer, AuthService, SERVICE_TOKEN_HEADER};
pub use mesh::MeshKey;
pub use token::{ACCESS_TOKEN_LIFE, AccessClaims, AccessGrant, Token, unix_seconds};
