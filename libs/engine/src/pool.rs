//! Which nodes a request may use. Nodes that no request tells apart form a group; a pool is a list of groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::{ExtendedIx, KeyIx, ModelIx, Node, NodeIx, Request, Shape, ValueIx};
use crate::room::{Rooms, View};
use crate::topology::{Levels, Topology, Tree};

/// A label selector.
pub(crate) type Selector = Vec<(KeyIx, ValueIx)>;

/// Nodes that no request tells apart: the same model, the same devices by name, the same answer to every selector, open or not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    /// The group of each node.
    pub of: Vec<u32>,
    list: Vec<Group>,
    selectors: Vec<Selector>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    model: Option<ModelIx>,
    usable: bool,
    /// Which devices its nodes offer by name, in order.
    offers: Vec<ExtendedIx>,
    /// Which of the selectors its nodes answer to.
    answers: Vec<bool>,
}

impl Groups {
    /// `selectors`: all that requests use, each once.
    pub fn new(nodes: &[Node], selectors: Vec<Selector>) -> Self {
        let mut seen: BTreeMap<Group, u32> = BTreeMap::new();
        let mut groups = Self { of: Vec::with_capacity(nodes.len()), list: Vec::new(), selectors };
        for node in nodes {
            let offered = node.extended.iter().filter(|(_, count)| *count > 0);
            let mut offers: Vec<ExtendedIx> = offered.map(|(name, _)| *name).collect();
            offers.sort_unstable();
            let answers = groups.selectors.iter();
            let group = Group {
                model: node.model,
                usable: node.open && !node.lost,
                offers,
                answers: answers
                    .map(|wanted| wanted.iter().all(|label| node.labels.contains(label)))
                    .collect(),
            };
            let next = u32::try_from(groups.list.len()).unwrap_or(u32::MAX);
            let ix = *seen.entry(group).or_insert_with_key(|group| {
                groups.list.push(group.clone());
                next
            });
            groups.of.push(ix);
        }
        groups
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Is every node open, and does it answer?
    pub fn all_usable(&self) -> bool {
        self.list.iter().all(|group| group.usable)
    }

    /// The ordinal of a selector that is known.
    pub fn selector(&self, wanted: &Selector) -> Option<usize> {
        self.selectors.iter().position(|known| known == wanted)
    }
}

/// Nodes by the same right, in order, with their groups and their topology domains.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeList {
    pub nodes: Vec<NodeIx>,
    pub groups: Vec<u32>,
    /// Nodes by their value of the topology label, where one is asked for.
    domains: BTreeMap<ValueIx, Vec<NodeIx>>,
    /// The same nodes by every level of the topology.
    pub tree: Tree,
}

impl NodeList {
    fn new(groups: &Groups, levels: Option<&Levels>, belongs: impl Fn(&Group) -> bool) -> Self {
        let chosen: Vec<bool> = groups.list.iter().map(belongs).collect();
        let mut list = Self::default();
        for (node, group) in groups.of.iter().enumerate() {
            if !chosen[*group as usize] {
                continue;
            }
            let node = NodeIx::of(node);
            list.nodes.push(node);
            if let Some(value) = levels.and_then(|levels| levels.value(node)) {
                list.domains.entry(value).or_default().push(node);
            }
        }
        if let Some(levels) = levels {
            list.tree = Tree::new(levels, |node| chosen[groups.of[node.at()] as usize]);
        }
        let all = (0u32..).zip(&chosen);
        list.groups = all.filter(|(_, chosen)| **chosen).map(|(group, _)| group).collect();
        list
    }
}

/// Which of the models that a request allows: a gang stays on one if it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Choice {
    /// One of [`Pool::models`], by index.
    Only(usize),
    /// Any of them.
    Mixed,
}

/// The nodes that a request may use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    /// For roles without GPUs: every node with the labels asked for.
    any: NodeList,
    /// For roles with GPUs, the preferred model first.
    pub models: Vec<(ModelIx, NodeList)>,
    /// Of all these models; empty where there is only one.
    mixed: NodeList,
    /// The levels of the topology, where one is asked for.
    levels: Option<Arc<Levels>>,
    required: bool,
}

/// Some nodes of a pool.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Within<'a> {
    All,
    /// Those with this value of the topology label that is asked for.
    Value(ValueIx),
    /// Those with this value of a level.
    Domain(usize, ValueIx),
    These(&'a [NodeIx]),
}

impl From<Option<ValueIx>> for Within<'_> {
    fn from(value: Option<ValueIx>) -> Self {
        value.map_or(Self::All, Self::Value)
    }
}

impl Pool {
    /// `topology`: the levels, and whether all replicas must share the value that is asked for. `all`: nodes that are closed or do not answer too.
    pub fn new(
        groups: &Groups,
        selector: &Selector,
        models: &[ModelIx],
        topology: Option<(Arc<Levels>, bool)>,
        all: bool,
    ) -> Self {
        let selector = groups.selector(selector);
        let (levels, required) =
            topology.map_or((None, false), |(levels, required)| (Some(levels), required));
        let may = |group: &Group| (all || group.usable) && selector.is_some_and(|at| group.answers[at]);
        let on = |group: &Group| match group.model {
            Some(model) => models.is_empty() || models.contains(&model),
            None => false,
        };
        let list = |belongs: &dyn Fn(&Group) -> bool| NodeList::new(groups, levels.as_deref(), belongs);
        let mut there: Vec<ModelIx> =
            groups.list.iter().filter(|g| may(g) && on(g)).filter_map(|g| g.model).collect();
        there.sort_unstable();
        there.dedup();
        if !models.is_empty() {
            let preferred = models.iter().copied().filter(|model| there.contains(model));
            let mut once: Vec<ModelIx> = Vec::new();
            preferred.for_each(|model| {
                if !once.contains(&model) {
                    once.push(model);
                }
            });
            there = once;
        }
        let mixed =
            if there.len() > 1 { list(&|group| may(group) && on(group)) } else { NodeList::default() };
        let models = there.into_iter();
        let models =
            models.map(|model| (model, list(&|group| may(group) && group.model == Some(model)))).collect();
        Self { any: list(&may), models, mixed, required, levels }
    }

    /// The pool of one request alone, on all nodes, the closed ones too.
    pub fn alone(nodes: &[Node], request: &Request) -> (Groups, Self) {
        let groups = Groups::new(nodes, vec![request.selector.clone()]);
        let mut levels = Topology::default();
        let topology = request.topology.map(|asked| (levels.levels(nodes, asked.key), asked.required));
        let pool = Self::new(&groups, &request.selector, &request.models, topology, true);
        (groups, pool)
    }

    /// What may be tried, in order.
    pub fn choices(&self, each: &Shape) -> Vec<Choice> {
        if each.gpu == 0 {
            return vec![Choice::Mixed];
        }
        let mut choices: Vec<Choice> = (0..self.models.len()).map(Choice::Only).collect();
        if self.models.len() > 1 {
            choices.push(Choice::Mixed);
        }
        choices
    }

    pub fn list(&self, each: &Shape, choice: Choice) -> &NodeList {
        match (choice, self.models.first()) {
            _ if each.gpu == 0 => &self.any,
            (Choice::Only(i), _) => &self.models[i].1,
            (Choice::Mixed, Some(only)) if self.models.len() == 1 => &only.1,
            (Choice::Mixed, _) => &self.mixed,
        }
    }

    pub fn nodes(&self, each: &Shape, choice: Choice) -> &[NodeIx] {
        &self.list(each, choice).nodes
    }

    pub fn nodes_in<'a>(
        &'a self,
        each: &Shape,
        choice: Choice,
        within: impl Into<Within<'a>>,
    ) -> &'a [NodeIx] {
        let list = self.list(each, choice);
        match within.into() {
            Within::All => &list.nodes,
            Within::Value(value) => list.domains.get(&value).map_or(&[], Vec::as_slice),
            Within::Domain(level, value) => {
                let domain = list.tree.domain(level, value);
                domain.map_or(&[], |domain| &list.tree.nodes[domain.nodes.clone()])
            }
            Within::These(nodes) => nodes,
        }
    }

    /// The levels of the topology, where one is asked for.
    pub fn levels(&self) -> Option<&Arc<Levels>> {
        self.levels.as_ref()
    }

    pub fn value(&self, node: NodeIx) -> Option<ValueIx> {
        self.levels.as_ref().and_then(|levels| levels.value(node))
    }

    /// Is any topology asked for?
    pub fn has_domains(&self) -> bool {
        self.levels.is_some()
    }

    /// Must all replicas share one value of the topology label?
    pub fn bound(&self) -> bool {
        self.levels.is_some() && self.required
    }

    /// Topology domains, the least free first; `[None]` (no restriction) last where it is allowed.
    pub fn domains(&self, rooms: &Rooms, view: View, each: &Shape, choice: Choice) -> Vec<Option<ValueIx>> {
        if self.levels.is_none() {
            return vec![None];
        }
        let domains = self.list(each, choice).domains.iter();
        let free = |nodes: &Vec<NodeIx>| nodes.iter().map(|node| rooms.amount(view, *node, each)).sum();
        let mut by_room: Vec<(i64, ValueIx)> = domains.map(|(value, nodes)| (free(nodes), *value)).collect();
        by_room.sort_unstable();
        let mut domains: Vec<Option<ValueIx>> = by_room.into_iter().map(|(_, value)| Some(value)).collect();
        if !self.required {
            domains.push(None);
        }
        domains
    }
}
