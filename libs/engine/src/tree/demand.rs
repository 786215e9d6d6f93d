//! What work asks of quota.

use super::{CPU, GPU, MEMORY, MODELS};
use crate::model::{Extended, ExtendedIx, ModelIx, NodeIx, Placement, Request, Shape, Snapshot};

/// What a piece of work asks of quota, on one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    pub cpu: i64,
    pub memory: i64,
    pub gpu: i64,
    pub model: Option<ModelIx>,
    /// A request names no more devices than fit in here.
    pub extended: Extended,
}

impl Demand {
    pub fn add(&mut self, each: &Shape, times: i64) {
        self.cpu += each.cpu.saturating_mul(times);
        self.memory += each.memory.saturating_mul(times);
        self.gpu += each.gpu.saturating_mul(times);
        for (name, count) in each.extended.iter() {
            self.extended.add(name, u32::try_from(count.saturating_mul(times)).unwrap_or(u32::MAX));
        }
    }

    /// By resource, of which there are so many models.
    pub(super) fn amounts(&self, models: usize) -> impl Iterator<Item = (usize, i64)> + '_ {
        let model = self.model.map(|m| (MODELS + m.at(), self.gpu));
        let named = self.extended.iter().map(move |(name, count)| (MODELS + models + name.at(), count));
        [(CPU, self.cpu), (MEMORY, self.memory), (GPU, self.gpu)]
            .into_iter()
            .chain(model)
            .chain(named)
            .filter(|(_, n)| *n > 0)
    }

    /// In the unit by which work is compared: milli-GPU, or milli-cores where there are none.
    pub fn weight(&self) -> i64 {
        if self.gpu > 0 { self.gpu } else { self.cpu }
    }
}

/// Adds replicas to demands, one entry a model.
pub(crate) fn demand_more(demands: &mut Vec<Demand>, each: &Shape, model: Option<ModelIx>) {
    let model = if each.gpu > 0 { model } else { None };
    let same = demands.iter_mut().find(|d| each.gpu == 0 || d.model == model);
    match same {
        Some(demand) => demand.add(each, 1),
        None => {
            let mut demand = Demand { model, ..Demand::default() };
            demand.add(each, 1);
            demands.push(demand);
        }
    }
}

/// What placements ask of quota.
pub(crate) fn demand_of(snapshot: &Snapshot, request: &Request, placements: &[Placement]) -> Vec<Demand> {
    let mut demands = Vec::new();
    for placement in placements {
        let each = &request.roles[usize::from(placement.role)].each;
        demand_more(&mut demands, each, model_at(snapshot, placement.node));
    }
    demands
}

pub(crate) fn model_at(snapshot: &Snapshot, node: NodeIx) -> Option<ModelIx> {
    snapshot.nodes[node.at()].model
}

/// What demands ask of one resource, of which there are so many models.
pub(super) fn sum(demands: &[Demand], r: usize, models: usize) -> i64 {
    let of = |d: &Demand| match r {
        CPU => d.cpu,
        MEMORY => d.memory,
        GPU => d.gpu,
        r if r < MODELS + models => d.model.filter(|m| MODELS + m.at() == r).map_or(0, |_| d.gpu),
        r => d.extended.of(ExtendedIx::of(r - MODELS - models)),
    };
    demands.iter().map(of).sum()
}
