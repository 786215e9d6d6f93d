//! Shares of what is borrowed, and the bounds of what anybody can have a right to.

use super::demand::sum;
use super::{CPU, Demand, GPU, MODELS, Reach, SHARE, Tree, Vertex};

impl Tree {
    /// Does anything run beyond the guarantee of a vertex?
    pub fn borrows(&self, vertex: Vertex) -> bool {
        self.entries[vertex].borrowed.iter().any(|amount| *amount > 0)
    }

    /// How much more can be inside the guarantee of a vertex, at the most: of each model in milli-GPU, and milli-cores of work without.
    pub fn uncovered(&self, vertex: Vertex) -> Reach {
        let entry = &self.entries[vertex];
        let left = |r: usize| entry.guaranteed.0[r].map(|promised| promised - entry.inside[r]);
        let models = (MODELS..MODELS + self.models).map(|r| left(GPU).or(left(r)).unwrap_or(0));
        // where no cpu is named, other names cover cpu work without bound
        let cpu = if entry.promises { left(CPU).unwrap_or(i64::MAX) } else { 0 };
        Reach { models: models.collect(), cpu }
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
            i64::try_from(all).unwrap_or(i64::MAX).saturating_sub(entry.borrowed[r])
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
        let shares = (0..self.capacity.len()).filter(counts).map(|r| {
            let weight = i128::from(entry.weight) * i128::from(self.capacity[r].max(1));
            let left = i128::from(entry.borrowed[r] - least[r]);
            i64::try_from(left * SHARE / weight).unwrap_or(i64::MAX)
        });
        shares.max().unwrap_or(0).max(0)
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
        self.dominant(vertex, &self.entries[vertex].borrowed, demands, sign)
    }

    /// The same, of the resources alone that `of` asks for.
    pub fn share_of(&self, vertex: Vertex, demands: &[Demand], sign: i64, of: &[Demand]) -> i64 {
        let entry = &self.entries[vertex];
        let kinds = (0..self.capacity.len()).filter(|r| *r != GPU && sum(of, *r, self.models) > 0);
        let shares = kinds.map(|r| {
            let used = i128::from(entry.borrowed[r] + sign * sum(demands, r, self.models));
            let weight = i128::from(entry.weight) * i128::from(self.capacity[r].max(1));
            i64::try_from(used * SHARE / weight).unwrap_or(i64::MAX)
        });
        shares.max().unwrap_or(0).max(0)
    }

    /// The dominant share of what runs as best effort beside what is borrowed.
    pub fn share_with_spare(&self, vertex: Vertex) -> i64 {
        let entry = &self.entries[vertex];
        entry.share.saturating_add(entry.spare_share)
    }

    pub(super) fn dominant(&self, vertex: Vertex, used: &[i64], demands: &[Demand], sign: i64) -> i64 {
        let shares = (0..self.capacity.len()).filter(|r| *r != GPU).filter_map(|r| {
            let used = used[r] + sign * if sign == 0 { 0 } else { sum(demands, r, self.models) };
            if used == 0 {
                return None;
            }
            let weight = i128::from(self.entries[vertex].weight) * i128::from(self.capacity[r].max(1));
            Some(i64::try_from(i128::from(used) * SHARE / weight).unwrap_or(i64::MAX))
        });
        shares.max().unwrap_or(0).max(0)
    }
}
