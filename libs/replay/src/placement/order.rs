//! In which order tasks arrive, and which node goes first among equals: recorded, or drawn anew.

use std::collections::BTreeMap;
use std::path::Path;

use super::load::World;
use super::rng::Rng;
use crate::input::{InputError, Table};

/// What is asked for in all, as a multiple of the capacity, in hundredths.
const RATIO_PERCENT: i64 = 130;

/// One order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Indices into [`World::tasks`], first come first; a task may come more than once.
    pub arrivals: Vec<usize>,
    /// The rank of each node of [`World::nodes`]: a permutation. The smaller rank wins between equals.
    pub ranks: Vec<usize>,
}

/// The orders of a file by seed.
#[derive(Clone, Debug, Default)]
pub struct Orders(BTreeMap<u64, Order>);

impl Orders {
    /// Reads `seed, kind, values`: for each seed a row `pods` (indices of the task list, in order of arrival) and a row `nodes` (the
    /// rank of each node, nodes sorted by name), numbers with blanks between.
    pub fn read(file: &Path, world: &World) -> Result<Self, InputError> {
        let table = Table::read(file, &["seed", "kind", "values"], &[])?;
        let mut halves: BTreeMap<(u64, bool), (Vec<usize>, u64)> = BTreeMap::new();
        for row in table.rows() {
            let seed = row.number("seed", i64::MAX)?.unsigned_abs();
            let is_nodes = match row.name("kind")? {
                "pods" => false,
                "nodes" => true,
                other => {
                    return Err(row.fault("kind", format!("{other:?} is neither \"pods\" nor \"nodes\"")));
                }
            };
            let (bound, what) = if is_nodes {
                (world.nodes.len(), "nodes")
            } else {
                (world.tasks.len(), "tasks in the list")
            };
            let mut values = Vec::new();
            for word in row.text("values").split_ascii_whitespace() {
                match word.parse::<usize>() {
                    Ok(value) if value < bound => values.push(value),
                    Ok(value) => {
                        return Err(row.fault("values", format!("{value}, but there are {bound} {what}")));
                    }
                    Err(_) => return Err(row.fault("values", format!("{word:?} is not an index"))),
                }
            }
            if is_nodes {
                let mut sorted = values.clone();
                sorted.sort_unstable();
                sorted.dedup();
                if sorted.len() != bound || values.len() != bound {
                    let what =
                        format!("not a permutation: {} different ranks for {bound} nodes", sorted.len());
                    return Err(row.fault("values", what));
                }
            }
            if halves.insert((seed, is_nodes), (values, row.line())).is_some() {
                return Err(row.fault("seed", format!("the same kind twice for seed {seed}")));
            }
        }
        let mut orders = BTreeMap::new();
        let seeds: Vec<(u64, u64)> = halves.iter().map(|((seed, _), (_, line))| (*seed, *line)).collect();
        for (seed, line) in seeds {
            if orders.contains_key(&seed) {
                continue;
            }
            match (halves.remove(&(seed, false)), halves.remove(&(seed, true))) {
                (Some((arrivals, _)), Some((ranks, _))) => orders.insert(seed, Order { arrivals, ranks }),
                (None, _) => return Err(missing(file, line, seed, "pods")),
                (_, None) => return Err(missing(file, line, seed, "nodes")),
            };
        }
        Ok(Self(orders))
    }

    /// The order of one seed.
    pub fn seed(&self, seed: u64) -> Option<&Order> {
        self.0.get(&seed)
    }

    /// Every seed there is, ascending.
    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }
}

fn missing(file: &Path, line: u64, seed: u64, kind: &str) -> InputError {
    InputError::in_file(file, format!("seed {seed} has no row {kind:?}")).at_line(line).in_field("kind")
}

impl Order {
    /// Draws an order by the recorded ones' rule (but from another random stream): all tasks shuffled, topped up with uniform
    /// draws until the next would ask for more than 1.3 × the capacity, or thinned out until they do not.
    pub fn draw(world: &World, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut arrivals: Vec<usize> = (0..world.tasks.len()).collect();
        rng.shuffle(&mut arrivals);
        let most = world.capacity() * RATIO_PERCENT / 100;
        let total = |task: usize| world.tasks.get(task).map_or(0, |task| task.ask.total());
        let mut asked: i64 = arrivals.iter().map(|task| total(*task)).sum();
        while asked > most && !arrivals.is_empty() {
            asked -= total(arrivals.remove(rng.below(arrivals.len())));
        }
        // a list without GPU tasks would never fill the cluster
        while world.tasks.iter().any(|task| task.ask.devices > 0) {
            let task = rng.below(world.tasks.len());
            // the recorded rule looks at one device's milli here, not at all of them
            if asked + world.tasks.get(task).map_or(0, |task| task.ask.milli) > most {
                break;
            }
            asked += total(task);
            arrivals.push(task);
        }
        let mut ranks: Vec<usize> = (0..world.nodes.len()).collect();
        rng.shuffle(&mut ranks);
        Self { arrivals, ranks }
    }
}
