//! What the jobs want that are not over, added up, so that a job that comes or goes is an addition.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::{Sites, ask_of};
use crate::model::{Placing, Request, Snapshot};
use crate::score::exact::Expected;
use crate::score::outlook::{Outlook, Rests, Tally};
use crate::score::scarcity::{Demand, Scarcity};
use crate::score::{Ask, Models};
use crate::shapes::Shapes;

/// All that scores depend on but for what is free, by [`Placing`].
#[derive(Clone, Debug)]
pub(crate) enum Mix {
    BestFit(Arc<Sites>),
    Spread(Arc<Sites>),
    Fragmentation(Counts),
    Crater(Box<Sums>),
}

/// How many replicas are wanted of each shape.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    sites: Arc<Sites>,
    of: BTreeMap<Ask, i128>,
}

/// What [`Outlook`] and [`Scarcity`] depend on.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    sites: Arc<Sites>,
    tally: Tally,
    demand: Demand,
    /// By shape of a job, its roles with GPUs, once they were asked for.
    roles: Vec<Option<Vec<Counted>>>,
    rests: OnceLock<Rests>,
}

/// A role: what one replica asks for, how many there are, and where they count in [`Sums::demand`].
type Counted = (Ask, i64, Option<usize>);

impl Mix {
    fn new(placing: Placing, sites: Sites) -> Option<Self> {
        let sites = Arc::new(sites);
        match placing {
            Placing::Pack => None,
            Placing::BestFit => Some(Self::BestFit(sites)),
            Placing::Spread => Some(Self::Spread(sites)),
            Placing::Fragmentation => Some(Self::Fragmentation(Counts { sites, of: BTreeMap::new() })),
            Placing::Crater => Some(Self::Crater(Box::new(Sums {
                demand: Demand::new(&sites.vacant()),
                sites,
                tally: Tally::default(),
                roles: Vec::new(),
                rests: OnceLock::new(),
            }))),
        }
    }

    pub fn sites(&self) -> &Arc<Sites> {
        match self {
            Self::BestFit(sites) | Self::Spread(sites) => sites,
            Self::Fragmentation(counts) => &counts.sites,
            Self::Crater(sums) => &sums.sites,
        }
    }

    /// Do jobs matter at all?
    fn counts_jobs(&self) -> bool {
        matches!(self, Self::Fragmentation(_) | Self::Crater(_))
    }

    fn add(&mut self, shapes: &Shapes, shape: usize, jobs: i64) {
        match self {
            Self::BestFit(_) | Self::Spread(_) => {}
            Self::Fragmentation(counts) => {
                for (ask, replicas) in asks(shapes.request(shape)) {
                    let count = counts.of.entry(ask).or_default();
                    *count += i128::from(jobs) * i128::from(replicas);
                    if *count == 0 {
                        counts.of.remove(&ask);
                    }
                }
            }
            Self::Crater(sums) => sums.add(shapes, shape, jobs),
        }
    }
}

impl Counts {
    pub fn expected(&self) -> Expected {
        let count = |count: &i128| u32::try_from(*count).unwrap_or(u32::MAX);
        let mix: Vec<(Ask, u32)> = self.of.iter().map(|(ask, of)| (*ask, count(of))).collect();
        Expected::new(&mix)
    }
}

impl Sums {
    fn add(&mut self, shapes: &Shapes, shape: usize, jobs: i64) {
        let Self { sites, tally, demand, roles, rests } = self;
        roles.resize(roles.len().max(shape + 1), None);
        let roles = roles[shape].get_or_insert_with(|| {
            let asks = asks(shapes.request(shape)).filter(|(ask, _)| ask.devices > 0);
            asks.map(|(ask, replicas)| (ask, replicas, demand.class(&sites.vacant(), &ask))).collect()
        });
        for (ask, replicas, class) in roles {
            let count = jobs.saturating_mul(*replicas);
            tally.add(ask, count);
            if let Some(class) = class {
                demand.add(*class, ask, count);
            }
            if ask.is_share() {
                *rests = OnceLock::new();
            }
        }
    }

    /// What is expected of nodes, and which kinds are wanted; prices are still to be set.
    pub fn judged(&self) -> (Outlook, Scarcity) {
        let outlook = Outlook::of(&self.tally, self.rests.get_or_init(|| self.tally.rests()).clone());
        let scarcity = Scarcity::of(&self.demand, &outlook);
        (outlook, scarcity)
    }
}

/// What each role of a request asks for, and how many replicas it has.
fn asks(request: &Request) -> impl Iterator<Item = (Ask, i64)> + '_ {
    let models = request.models.iter().fold(Models::default(), |all, model| all.with(model.0));
    request.roles.iter().map(move |role| (Ask { models, ..ask_of(&role.each, 1) }, i64::from(role.replicas)))
}

/// The mix of a snapshot that changes.
#[derive(Clone, Debug)]
pub(crate) struct Mixture {
    mix: Arc<Mix>,
    /// By shape, the jobs that came (or, below 0, went) and are not in the mix yet.
    changes: BTreeMap<usize, i64>,
}

impl Mixture {
    /// `None`: nodes are found without scores.
    pub fn new(s: &Snapshot, shapes: &Shapes) -> Option<Self> {
        if s.settings.placement == Placing::Pack {
            return None;
        }
        let mix = Mix::new(s.settings.placement, Sites::new(&s.nodes, &shapes.groups))?;
        let mut jobs = vec![0; if mix.counts_jobs() { shapes.len() } else { 0 }];
        for (ix, _) in s.jobs.iter().enumerate().filter(|(_, job)| mix.counts_jobs() && !job.closed) {
            jobs[shapes.of(ix)] += 1;
        }
        let changes = jobs.into_iter().enumerate().filter(|(_, jobs)| *jobs > 0).collect();
        Some(Self { mix: Arc::new(mix), changes })
    }

    /// So many jobs more of a shape; below 0, so many less.
    pub fn count(&mut self, shape: usize, jobs: i64) {
        if self.mix.counts_jobs() {
            *self.changes.entry(shape).or_default() += jobs;
        }
    }

    /// The mix as it is now.
    pub fn now(&mut self, shapes: &Shapes) -> &Arc<Mix> {
        let changes = std::mem::take(&mut self.changes).into_iter().filter(|(_, jobs)| *jobs != 0);
        for (shape, jobs) in changes {
            Arc::make_mut(&mut self.mix).add(shapes, shape, jobs);
        }
        &self.mix
    }
}
