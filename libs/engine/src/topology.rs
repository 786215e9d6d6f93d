//! The levels of a cluster (hall, rack, island of fast interconnect): which labels of its nodes lie within which.
//!
//! Nobody says what lies within what: it is seen from the nodes. One label lies within another if nodes that share a value of it share a value
//! of the other too, and not the other way round. A level is a label; its domains are the nodes that share a value. Labels may be missing on some
//! nodes: who lacks the one that is asked for is in no domain of it; who lacks a coarser one is where those are with which it shares the finer.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::model::{KeyIx, Node, NodeIx, ValueIx};

/// The levels of which one is asked for, the coarsest first; each lies within the one before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Levels {
    pub keys: Vec<KeyIx>,
    /// Which of them is asked for.
    pub named: usize,
    /// By level, the value on every node of the cluster.
    values: Vec<Vec<Option<ValueIx>>>,
    /// All nodes, those of one domain beside each other at every level; those that lack a label come after those that have it.
    order: Vec<NodeIx>,
}

/// Levels by the label that is asked for, each found once.
#[derive(Debug, Default)]
pub(crate) struct Topology {
    labels: Option<Vec<Label>>,
    known: BTreeMap<KeyIx, Arc<Levels>>,
}

/// One label on all nodes.
#[derive(Clone, Debug)]
struct Label {
    key: KeyIx,
    /// The domain of each node, counted from 0.
    of: Vec<Option<usize>>,
    /// By domain.
    values: Vec<ValueIx>,
    /// So many nodes have it.
    nodes: usize,
}

impl Topology {
    /// The levels of which `key` is one.
    pub fn levels(&mut self, nodes: &[Node], key: KeyIx) -> Arc<Levels> {
        let labels = self.labels.get_or_insert_with(|| Label::all(nodes));
        let levels = self.known.entry(key);
        levels.or_insert_with(|| Arc::new(Levels::find(labels, key, nodes.len()))).clone()
    }
}

impl Label {
    /// All that nodes have, by key; what the caller marks nodes with is none.
    fn all(nodes: &[Node]) -> Vec<Self> {
        let mut by_key: BTreeMap<KeyIx, Vec<Option<ValueIx>>> = BTreeMap::new();
        for (at, node) in nodes.iter().enumerate() {
            for (key, value) in node.labels.iter().filter(|(key, _)| *key < KeyIx::MARKS) {
                by_key.entry(*key).or_insert_with(|| vec![None; nodes.len()])[at].get_or_insert(*value);
            }
        }
        let label = |(key, of): (KeyIx, Vec<Option<ValueIx>>)| {
            let mut values: Vec<ValueIx> = of.iter().flatten().copied().collect();
            let nodes = values.len();
            values.sort_unstable();
            values.dedup();
            let of = of.into_iter().map(|value| value.and_then(|value| values.binary_search(&value).ok()));
            Self { key, of: of.collect(), values, nodes }
        };
        by_key.into_iter().map(label).collect()
    }

    fn value(&self, node: usize) -> Option<ValueIx> {
        self.of[node].map(|domain| self.values[domain])
    }

    /// By domain, in which domain of the other its nodes are, as far as they are in any; `None`: some domain is in more than one.
    fn around(&self, other: &Self) -> Option<Vec<Option<usize>>> {
        let mut around: Vec<Option<usize>> = vec![None; self.values.len()];
        let mut both = self.of.iter().zip(&other.of).filter_map(|(inner, outer)| inner.zip(*outer));
        both.all(|(inner, outer)| *around[inner].get_or_insert(outer) == outer).then_some(around)
    }

    /// On how many nodes are both?
    fn shared(&self, other: &Self) -> usize {
        self.of.iter().zip(&other.of).filter(|(a, b)| a.is_some() && b.is_some()).count()
    }

    /// Are all nodes of each domain in one domain of the other?
    fn is_inside(&self, other: &Self) -> bool {
        self.shared(other) == self.nodes && self.around(other).is_some()
    }

    fn lies_within(&self, other: &Self) -> bool {
        self.around(other).is_some() && !other.is_inside(self)
    }

    /// Can no two nodes share a value?
    fn tells_nodes_apart(&self) -> bool {
        self.values.len() == self.nodes
    }

    /// The next coarser label, if one is on half of the nodes at least that have the finest. Of two of which neither lies within the other, the one that
    /// has the smaller ordinal. `chain`: the levels so far, the finest first.
    fn above(all: &[Self], chain: &[Self]) -> Option<Self> {
        let (finest, coarsest) = (chain.first()?, chain.last()?);
        let coarser = all.iter().filter(|label| {
            let new = !label.tells_nodes_apart() && chain.iter().all(|level| level.key != label.key);
            new && 2 * finest.shared(label) >= finest.nodes
                && !label.is_inside(coarsest)
                && chain.iter().all(|level| level.around(label).is_some())
        });
        let next = coarser.reduce(|best, label| if label.lies_within(best) { label } else { best });
        next.map(|next| chain.iter().rev().fold(next.clone(), Self::filled))
    }

    /// Says it of nodes that lack it and share a domain of a finer label with nodes that have it.
    fn filled(mut self, finer: &Self) -> Self {
        let around = finer.around(&self).unwrap_or_default();
        for (of, inner) in self.of.iter_mut().zip(&finer.of) {
            *of = of.or_else(|| *around.get((*inner)?)?);
        }
        self.nodes = self.of.iter().flatten().count();
        self
    }

    /// Are the nodes of each domain either all in one domain of the other, or in none?
    fn is_whole_in(&self, other: &Self) -> bool {
        let here = |around: Vec<Option<usize>>| {
            let mut all = self.of.iter().zip(&other.of);
            all.all(|(inner, outer)| inner.is_none_or(|inner| around[inner] == *outer))
        };
        self.around(other).is_some_and(here)
    }

    /// The next finer label. Of two of which neither lies within the other, the one that says something of more nodes, then the one that has the
    /// smaller ordinal. `chain`: the levels so far, the finest last.
    fn below(all: &[Self], chain: &[Self]) -> Option<Self> {
        let finest = chain.last()?;
        let finer = all.iter().filter(|label| {
            let new = !label.tells_nodes_apart() && chain.iter().all(|level| level.key != label.key);
            new && label.shared(finest) > 0
                && !finest.is_inside(label)
                && chain.iter().all(|level| label.is_whole_in(level))
        });
        let mut finer: Vec<&Self> = finer.collect();
        finer.sort_by_key(|label| std::cmp::Reverse(label.shared(finest)));
        let next = finer.into_iter().reduce(|best, label| if best.lies_within(label) { label } else { best });
        next.cloned()
    }
}

impl Levels {
    fn find(labels: &[Label], key: KeyIx, nodes: usize) -> Self {
        let Some(named) = labels.iter().find(|label| label.key == key) else {
            let (values, order) = (vec![vec![None; nodes]], (0..nodes).map(NodeIx::of).collect());
            return Self { keys: vec![key], named: 0, values, order };
        };
        let mut levels = vec![named.clone()];
        while let Some(next) = Label::above(labels, &levels) {
            levels.push(next);
        }
        let above = levels.len() - 1;
        levels.reverse();
        while let Some(next) = Label::below(labels, &levels) {
            levels.push(next);
        }
        let place = |node: &NodeIx| {
            let values = levels.iter().map(|label| label.value(node.at()));
            values.map(|value| (value.is_none(), value)).collect::<Vec<_>>()
        };
        let mut order: Vec<NodeIx> = (0..nodes).map(NodeIx::of).collect();
        order.sort_by_cached_key(place);
        Self {
            keys: levels.iter().map(|label| label.key).collect(),
            named: above,
            values: levels.iter().map(|label| (0..nodes).map(|node| label.value(node)).collect()).collect(),
            order,
        }
    }

    /// How many nodes the cluster has.
    pub fn nodes(&self) -> usize {
        self.order.len()
    }

    /// The value of the label that is asked for.
    pub fn value(&self, node: NodeIx) -> Option<ValueIx> {
        self.values[self.named][node.at()]
    }
}

/// Some of the nodes, by domain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    /// In the order of [`Levels`].
    pub nodes: Vec<NodeIx>,
    /// By level, the coarsest first, its domains in order.
    pub levels: Vec<Vec<Domain>>,
}

/// Nodes that share a value of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Domain {
    pub value: ValueIx,
    /// Which of [`Tree::nodes`].
    pub nodes: Range<usize>,
}

impl Tree {
    pub fn new(levels: &Levels, belongs: impl Fn(NodeIx) -> bool) -> Self {
        let nodes: Vec<NodeIx> = levels.order.iter().copied().filter(|node| belongs(*node)).collect();
        let domains = |values: &Vec<Option<ValueIx>>| {
            let mut domains: Vec<Domain> = Vec::new();
            for (at, node) in nodes.iter().enumerate() {
                let Some(value) = values[node.at()] else { continue };
                match domains.last_mut() {
                    Some(last) if last.value == value => last.nodes.end = at + 1,
                    _ => domains.push(Domain { value, nodes: at..at + 1 }),
                }
            }
            domains
        };
        let levels = levels.values.iter().map(domains).collect();
        Self { nodes, levels }
    }

    /// One domain, if any of its nodes is here.
    pub fn domain(&self, level: usize, value: ValueIx) -> Option<&Domain> {
        self.levels.get(level)?.iter().find(|domain| domain.value == value)
    }

    /// The domain of a level in which a node is.
    pub fn around(&self, level: usize, at: usize) -> Option<&Domain> {
        let all = self.levels.get(level)?;
        let next = all.partition_point(|domain| domain.nodes.start <= at);
        all[..next].last().filter(|domain| domain.nodes.contains(&at))
    }

    /// The domains of a level that are among these nodes.
    pub fn within(&self, level: usize, nodes: &Range<usize>) -> &[Domain] {
        let all = self.levels.get(level).map_or(&[][..], Vec::as_slice);
        let from = all.partition_point(|domain| domain.nodes.start < nodes.start);
        let to = all.partition_point(|domain| domain.nodes.start < nodes.end);
        &all[from..to]
    }

    /// What these nodes consist of at a level: its domains, those of finer levels that are in none of them, and nodes by themselves.
    pub fn parts(&self, level: usize, nodes: &Range<usize>) -> Vec<Range<usize>> {
        if level >= self.levels.len() {
            return nodes.clone().map(|at| at..at + 1).collect();
        }
        let mut parts: Vec<Range<usize>> = Vec::new();
        let mut next = nodes.start;
        for domain in self.within(level, nodes) {
            parts.extend(self.parts(level + 1, &(next..domain.nodes.start)));
            parts.push(domain.nodes.clone());
            next = domain.nodes.end;
        }
        parts.extend(self.parts(level + 1, &(next..nodes.end)));
        parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    /// Nodes by their labels, `-` for none; a column a label.
    fn nodes(rows: &[&str]) -> Vec<Node> {
        let labels = |row: &str| {
            let values = row.split_whitespace().zip(0u32..).filter(|(value, _)| *value != "-");
            values.map(|(value, key)| (KeyIx(key), ValueIx(value.parse().unwrap()))).collect()
        };
        rows.iter().map(|row| Node { labels: labels(row), ..Node::default() }).collect()
    }

    fn keys(nodes: &[Node], key: u32) -> (Vec<u32>, usize) {
        let levels = Topology::default().levels(nodes, KeyIx(key));
        (levels.keys.iter().map(|key| key.0).collect(), levels.named)
    }

    #[test]
    fn what_lies_within_what_is_seen_from_the_nodes() {
        // rack, disk (across racks), zone, host, region
        let nodes = nodes(&["1 7 1 1 1", "1 8 1 2 1", "2 7 1 3 1", "2 8 1 4 1", "3 7 2 5 1", "4 7 2 6 1"]);
        assert_eq!(keys(&nodes, 0), (vec![4, 2, 0], 2), "hosts are nodes, and disks are across racks");
        assert_eq!(keys(&nodes, 2), (vec![4, 2, 0], 1));
        assert_eq!(keys(&nodes, 4), (vec![4, 2, 0], 0));
        assert_eq!(keys(&nodes, 1), (vec![4, 1], 1));
        assert_eq!(keys(&nodes, 3), (vec![4, 2, 0, 3], 3), "unless hosts are asked for");
        assert_eq!(keys(&nodes, 5), (vec![5], 0), "a label that no node has");
    }

    #[test]
    fn a_label_that_few_nodes_have_hides_none_that_all_have() {
        // something on two nodes of one rack, racks, islands
        let rows = ["5 1 1", "5 1 1", "- 1 2", "- 1 2", "- 2 3", "- 2 3", "- 2 4", "- 2 4"];
        assert_eq!(keys(&nodes(&rows), 1), (vec![1, 2, 0], 0));
        // islands of fast interconnect that few nodes have, in racks, in zones: racks without any are above them all the same
        let rows = ["1 1 1", "1 1 1", "- 2 1", "- 2 1", "- 3 2", "- 3 2", "- 4 2", "- 4 2"];
        assert_eq!(keys(&nodes(&rows), 0), (vec![2, 1, 0], 2));
        assert_eq!(keys(&nodes(&rows), 2), (vec![2, 1, 0], 0));
    }

    #[test]
    fn a_coarser_label_may_be_missing_here_and_there() {
        // racks in zones; a node of rack 1 does not say its zone, and rack 4 is in none
        let nodes = nodes(&["1 1", "1 -", "2 1", "2 1", "3 2", "3 2", "4 -", "4 -"]);
        assert_eq!(keys(&nodes, 0), (vec![1, 0], 1));
        let levels = Topology::default().levels(&nodes, KeyIx(0));
        let tree = Tree::new(&levels, |_| true);
        assert_eq!(tree.levels[0].iter().map(|zone| zone.nodes.clone()).collect::<Vec<_>>(), [0..4, 4..6]);
        assert_eq!(tree.parts(0, &(0..8)), [0..4, 4..6, 6..8], "a rack by itself is a part, too");
        // who must share a zone goes where that is said, and a rack that is half in one is no part of it
        let levels = Topology::default().levels(&nodes, KeyIx(1));
        let tree = Tree::new(&levels, |_| true);
        assert_eq!(tree.domain(levels.named, ValueIx(1)).map(|zone| zone.nodes.len()), Some(3));
        assert_eq!(levels.keys, [KeyIx(1)]);
        let whole = Topology::default().levels(&[&nodes[..1], &nodes[2..]].concat(), KeyIx(1));
        assert_eq!(whole.keys, [KeyIx(1), KeyIx(0)]);
    }

    #[test]
    fn labels_that_say_the_same_are_one_level_and_marks_are_none() {
        let mut nodes = nodes(&["1 4 1", "1 4 1", "2 3 1", "2 3 1"]);
        assert_eq!(keys(&nodes, 0), (vec![2, 0], 1));
        assert_eq!(keys(&nodes, 1), (vec![2, 1], 1));
        nodes[..3].iter_mut().for_each(|node| node.labels.push((KeyIx::MARKS, ValueIx(0))));
        assert_eq!(keys(&nodes, 0), (vec![2, 0], 1));
    }

    #[test]
    fn a_tree_has_each_domain_in_one_piece_and_loose_nodes_by_themselves() {
        // racks in zones; node 2 is in no rack, node 5 nowhere
        let nodes = nodes(&["3 2", "1 1", "- 1", "2 1", "1 1", "- -", "3 2"]);
        let levels = Topology::default().levels(&nodes, KeyIx(0));
        let tree = Tree::new(&levels, |node| node != NodeIx(0));
        assert_eq!(tree.nodes, [1, 4, 3, 2, 6, 5].map(NodeIx));
        let zones = tree.levels[0].iter().map(|domain| (domain.value.0, domain.nodes.clone()));
        assert_eq!(zones.collect::<Vec<_>>(), [(1, 0..4), (2, 4..5)]);
        assert_eq!(tree.parts(1, &(0..4)), [0..2, 2..3, 3..4]);
        assert_eq!(tree.parts(0, &(0..6)), [0..4, 4..5, 5..6]);
        assert_eq!(tree.domain(1, ValueIx(3)).map(|domain| domain.nodes.clone()), Some(4..5));
        assert_eq!(levels.value(NodeIx(4)), Some(ValueIx(1)));
    }

    proptest! {
        #[test]
        fn whatever_labels_say_no_domain_is_in_two_pieces(rows in vec(vec(option::weighted(0.8, 0u32..4), 4), 1..9), key in 0u32..4) {
            let labels = |row: &Vec<Option<u32>>| (0..).zip(row).filter_map(|(key, value)| Some((KeyIx(key), ValueIx((*value)?)))).collect();
            let nodes: Vec<Node> = rows.iter().map(|row| Node { labels: labels(row), ..Node::default() }).collect();
            let levels = Topology::default().levels(&nodes, KeyIx(key));
            prop_assert_eq!(levels.keys[levels.named], KeyIx(key));
            let tree = Tree::new(&levels, |_| true);
            for (level, domains) in tree.levels.iter().enumerate() {
                let mut values: Vec<ValueIx> = domains.iter().map(|domain| domain.value).collect();
                values.sort_unstable();
                values.dedup();
                prop_assert_eq!(values.len(), domains.len(), "level {} of {:?}", level, levels);
                let parts = tree.parts(level, &(0..nodes.len()));
                prop_assert_eq!(parts.iter().map(Range::len).sum::<usize>(), nodes.len());
            }
        }
    }
}
