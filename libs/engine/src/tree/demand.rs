//! What work asks of quota.

use super::{CPU, GPU, MEMORY, MODELS};
use crate::model::{ModelIx, NodeIx, Placement, Request, Shape, Snapshot};

/// What a piece of work asks of quota, on one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    pub cpu: i64,
    pub memory: i64,
    pub gpu: i64,
    pub model: Option<ModelIx>,
}

impl Demand {
    pub fn add(&mut self, each: &Shape, times: i64) {
        self.cpu += each.cpu.saturating_mul(times);
        self.memory += each.memory.saturating_mul(times);
        self.gpu += each.gpu.saturating_mul(times);
    }

    pub(super) fn amounts(&self) -> impl Iterator<Item = (usize, i64)> {
        let model = self.model.map(|m| (MODELS + m.at(), self.gpu));
        [(CPU, self.cpu), (MEMORY, self.memory), (GPU, self.gpu)]
            .into_iter()
            .chain(model)
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

/// What demands ask of one resource.
pub(super) fn sum(demands: &[Demand], r: usize) -> i64 {
    demands
        .iter()
        .map(|d| match r {
            CPU => d.cpu,
            MEMORY => d.memory,
            GPU => d.gpu,
            model => d.model.filter(|m| MODELS + m.at() == model).map_or(0, |_| d.gpu),
        })
        .sum()
}
