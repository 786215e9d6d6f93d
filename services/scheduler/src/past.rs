//! What accounts borrowed lately: the engine's averages, carried from cycle to cycle by name.

use std::collections::BTreeMap;

use crater_engine::usage::{Borrowed, Usage};
use serde::{Deserialize, Serialize};

use crate::words::Models;

/// Averages at one moment, and what was borrowed from then on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    at_ms: i64,
    lately: BTreeMap<String, Borrowed>,
    borrowed: BTreeMap<String, Borrowed>,
}

/// The same with the models by name, for another process.
#[derive(Serialize, Deserialize)]
pub struct Packed {
    models: Vec<String>,
    past: Past,
}

impl Past {
    /// The averages of these accounts at a later moment, by ordinal.
    pub fn forward(&self, accounts: &[String], now_ms: i64, half_life_ms: i64) -> Vec<Borrowed> {
        let nothing = Borrowed::default();
        let of = |account: &String| {
            let mut past = self.lately.get(account).cloned().unwrap_or_default();
            let held = self.borrowed.get(account).unwrap_or(&nothing);
            past.decay(held, now_ms.saturating_sub(self.at_ms), half_life_ms);
            past
        };
        accounts.iter().map(of).collect()
    }

    /// A cycle was decided: with these averages, and so much is borrowed from now on.
    pub fn follow(accounts: &[String], now_ms: i64, lately: &[Borrowed], borrowed: &[Borrowed]) -> Self {
        let named = |all: &[Borrowed]| accounts.iter().cloned().zip(all.iter().cloned()).collect();
        Self { at_ms: now_ms, lately: named(lately), borrowed: named(borrowed) }
    }

    /// For another process.
    pub fn pack(&self, models: &Models) -> Packed {
        Packed { models: models.names(), past: self.clone() }
    }

    /// From another process.
    pub fn unpack(packed: Packed, models: &Models) -> Self {
        let Packed { models: names, mut past } = packed;
        let ours: Vec<_> = names.iter().map(|name| models.intern(name)).collect();
        for of in past.lately.values_mut().chain(past.borrowed.values_mut()) {
            for usage in [&mut of.all, &mut of.own] {
                let mut moved = Usage { gpu: Vec::new(), ..usage.clone() };
                for (model, nano) in ours.iter().zip(&usage.gpu) {
                    moved.add_gpu(*model, *nano);
                }
                *usage = moved;
            }
        }
        past
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;

    fn borrowed(gpu: &[i64]) -> Borrowed {
        Borrowed { all: Usage { gpu: gpu.to_vec(), ..Usage::default() }, own: Usage::default() }
    }

    #[test]
    fn the_past_fades_by_half_and_what_is_borrowed_comes_in() {
        let accounts = ["a".to_owned(), "b".to_owned()];
        let held = [borrowed(&[0]), borrowed(&[8_000])];
        let past = Past::follow(&accounts, 0, &[borrowed(&[4_000]), borrowed(&[0])], &held);
        let later = past.forward(&["b".to_owned(), "a".to_owned(), "new".to_owned()], DAY, DAY);
        assert_eq!(later, [borrowed(&[4_000]), borrowed(&[2_000]), borrowed(&[])]);
    }

    #[test]
    fn another_process_may_number_models_otherwise() {
        let (ours, theirs) = (Models::default(), Models::default());
        for model in ["A100", "H100"] {
            ours.intern(model);
        }
        theirs.intern("H100");
        let past = Past::follow(&["a".to_owned()], 5, &[borrowed(&[1, 2])], &[borrowed(&[3])]);
        let text = serde_json::to_string(&past.pack(&ours)).unwrap();
        let moved = Past::unpack(serde_json::from_str(&text).unwrap(), &theirs);
        let expected = Past::follow(&["a".to_owned()], 5, &[borrowed(&[2, 1])], &[borrowed(&[0, 3])]);
        assert_eq!(moved, expected);
    }
}
