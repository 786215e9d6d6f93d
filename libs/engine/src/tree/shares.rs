//! Shares of what is borrowed, and the bounds of what anybody can have a right to.

use super::demand::sum;
use super::{CPU, Demand, Entry, GPU, MODELS, Reach, SHARE, Tree, Vertex};
use crate::model::ModelIx;

/// `used` as a share of `whole` in units of 1 / [`SHARE`], rounded down; 0 for what is less than nothing.
fn portion(used: i64, whole: i128) -> i64 {
    if used <= 0 {
        return 0;
    }
    let all = i128::from(used) * SHARE;
    // a quotient of floats is off by little, and a division of such numbers takes long
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    let guess = all as f64 / whole as f64;
    if guess < 1e15 {
        #[allow(clippy::cast_possible_truncation)]
        let near = guess as i64;
        let rest = all - i128::from(near) * whole;
        if rest >= 0 && rest < whole {
            return near;
        }
    }
    i64::try_from(all / whole).unwrap_or(i64::MAX)
}

impl Tree {
    /// Does anything run beyond the guarantee of a vertex?
    pub fn borrows(&self, vertex: Vertex) -> bool {
        self.entries[vertex].borrowed.iter().any(|amount| *amount > 0)
    }

    /// How much more a vertex may borrow before its share is beyond `most`, which is given for work on each model, and without.
    pub fn until(&self, vertex: Vertex, most: &[i64], without: i64) -> Reach {
        let entry = &self.entries[vertex];
        let left = |r: usize, most: i64| {
            if most == i64::MIN {
                return i64::MIN;
            }
            let weight = i128::from(entry.weight) * i128::from(self.capacity[r].max(1));
            // shares are cut off, so a share of `most` reaches just below the next one
            let all = ((i128::from(most) + 1) * weight - 1).div_euclid(SHARE);
            i64::try_from(all).unwrap_or(i64::MAX).saturating_sub(self.beyond(entry, r, 0, 0))
        };
        let models = most.iter().enumerate().map(|(model, most)| left(MODELS + model, *most));
        Reach { models: models.collect(), cpu: left(CPU, without) }
    }

    /// The greatest dominant share a vertex can be left with when one of some pieces is taken, of which `least` is the least amount of each
    /// resource; of one model alone, if one is given.
    pub fn share_without(&self, vertex: Vertex, least: &[i64], model: Option<usize>) -> i64 {
        let entry = &self.entries[vertex];
        let counts = |r: &usize| {
            let is_model = (MODELS..MODELS + self.models).contains(r);
            *r != GPU && (!is_model || model.is_none_or(|model| *r == MODELS + model))
        };
        let gpus = -least[GPU];
        let shares = (0..self.capacity.len()).filter(counts);
        let shares = shares.map(|r| portion(self.beyond(entry, r, -least[r], gpus), self.whole(entry, r)));
        shares.max().unwrap_or(0)
    }

    /// Lessens `least` to what a piece asks for, resource by resource.
    pub fn lessen(&self, least: &mut [i64], demands: &[Demand]) {
        for (r, least) in least.iter_mut().enumerate() {
            *least = (*least).min(sum(demands, r, self.models));
        }
    }

    /// The dominant share of what is borrowed, by weight, in 10⁻¹⁵: the greatest weights still tell single GPUs apart.
    pub fn share(&self, vertex: Vertex) -> i64 {
        self.entries[vertex].share
    }

    /// The same with `demands` more (or less, by `sign`).
    pub fn share_with(&self, vertex: Vertex, demands: &[Demand], sign: i64) -> i64 {
        self.share_among(vertex, demands, sign, |r| r != GPU)
    }

    /// The same, of the resources alone that `of` asks for.
    pub fn share_of(&self, vertex: Vertex, demands: &[Demand], sign: i64, of: &[Demand]) -> i64 {
        self.share_among(vertex, demands, sign, |r| r != GPU && sum(of, r, self.models) > 0)
    }

    fn share_among(
        &self,
        vertex: Vertex,
        demands: &[Demand],
        sign: i64,
        counts: impl Fn(usize) -> bool,
    ) -> i64 {
        let entry = &self.entries[vertex];
        let more = |r: usize| if sign == 0 { 0 } else { sign * sum(demands, r, self.models) };
        let gpus = if entry.promises { more(GPU) } else { 0 };
        let shares = (0..self.capacity.len()).filter(|r| counts(*r));
        let shares = shares.map(|r| portion(self.beyond(entry, r, more(r), gpus), self.whole(entry, r)));
        shares.max().unwrap_or(0)
    }

    /// The share of one model alone, with `demands` more; 0 for none.
    pub fn share_on(&self, vertex: Vertex, demands: &[Demand], model: Option<ModelIx>) -> i64 {
        let Some(r) = model.map(|model| MODELS + model.at()) else { return 0 };
        let entry = &self.entries[vertex];
        let more = |r: usize| sum(demands, r, self.models);
        portion(self.beyond(entry, r, more(r), more(GPU)), self.whole(entry, r))
    }

    /// How many milli-GPU of each model one vertex could lose at once and still have no less of it than another with `demands` more.
    pub fn above(&self, vertex: Vertex, other: Vertex, demands: &[Demand]) -> Vec<i64> {
        let entry = &self.entries[vertex];
        let above = |model: usize| {
            let most = self.share_on(other, demands, Some(ModelIx::of(model)));
            // the least amount that is such a share
            let least = (i128::from(most) * self.whole(entry, MODELS + model) + SHARE - 1) / SHARE;
            let r = MODELS + model;
            if least <= 0 {
                return entry.borrowed[r];
            }
            self.beyond(entry, r, 0, 0).saturating_sub(i64::try_from(least).unwrap_or(i64::MAX))
        };
        (0..self.models()).map(above).collect()
    }

    /// All there is of a resource, by the weight of a vertex.
    fn whole(&self, entry: &Entry, r: usize) -> i128 {
        i128::from(entry.weight) * i128::from(self.capacity[r].max(1))
    }

    /// The dominant share of what runs as best effort beside what is borrowed.
    pub fn share_with_spare(&self, vertex: Vertex) -> i64 {
        let entry = &self.entries[vertex];
        entry.share.saturating_add(entry.spare_share)
    }

    pub(super) fn dominant(&self, vertex: Vertex, used: &[i64]) -> i64 {
        let shares = (0..self.capacity.len()).filter(|r| *r != GPU);
        let shares = shares.map(|r| portion(used[r], self.whole(&self.entries[vertex], r)));
        shares.max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_quotient_rounded_down() {
        let used = [1, 2, 999, 1000, 1001, 79_999_000, 80_000_000, 1 << 40, (1 << 60) - 1, i64::MAX];
        let whole = [1, 3, 7, 1000, 80_000_000, 80_000_001, 1 << 44, (1 << 62) + 1];
        for used in used {
            for whole in whole {
                let exact = i64::try_from(i128::from(used) * SHARE / whole).unwrap_or(i64::MAX);
                assert_eq!(portion(used, whole), exact, "{used} of {whole}");
            }
            assert_eq!(portion(-used, 1000), 0);
        }
    }
}
