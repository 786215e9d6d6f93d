//! Access tokens whose signature was found good a moment ago. To check one is much of what a short call costs, and a caller sends the same one
//! for minutes.
//!
//! Only the signature is remembered. Whether the token is in time, and whether its session and user still stand, is judged at each call.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::token::AccessClaims;

/// Tokens at most; about 1 KiB each. When there are more, all are forgotten.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(crate) struct Believed {
    tokens: Mutex<Tokens>,
}

#[derive(Debug, Default)]
struct Tokens {
    /// Of the keys that signed them: a retired key takes its tokens along.
    generation: u64,
    claims: HashMap<Box<str>, AccessClaims>,
}

impl Believed {
    /// What a token claims, if it was believed under the keys of this generation.
    pub(crate) fn get(&self, token: &str, generation: u64) -> Option<AccessClaims> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.generation != generation {
            return None;
        }
        tokens.claims.get(token).cloned()
    }

    /// Remembers a token that was believed under the keys of this generation.
    pub(crate) fn put(&self, token: &str, generation: u64, claims: AccessClaims) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if generation < tokens.generation {
            return;
        }
        if generation > tokens.generation || tokens.claims.len() >= MOST {
            tokens.claims.clear();
            tokens.generation = generation;
        }
        tokens.claims.insert(token.into(), claims);
    }
}
