//! Nodes that turned a replica away: barred for that shape until the node changes or a back-off passes.

use std::collections::BTreeMap;

use crater_engine::Shape;

/// The first back-off, in milliseconds; it doubles with each refusal.
const FIRST: i64 = 10_000;
/// The longest.
const LONGEST: i64 = 600_000;

/// Why, how often and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Until when, in milliseconds since 1970.
    pub until_ms: i64,
    /// The node's words.
    pub message: String,
    times: u32,
}

/// All bars.
#[derive(Debug, Default)]
pub struct Bars(BTreeMap<(String, Shape), Bar>);

impl Bars {
    /// The node turned such a replica away.
    pub fn add(&mut self, node: &str, shape: Shape, message: &str, now_ms: i64) {
        let times = self.0.get(&(node.to_owned(), shape)).map_or(0, |bar| bar.times);
        let pause = FIRST.checked_shl(times).unwrap_or(LONGEST).clamp(FIRST, LONGEST);
        let bar = Bar { until_ms: now_ms + pause, message: message.to_owned(), times: (times + 1).min(16) };
        self.0.insert((node.to_owned(), shape), bar);
    }

    /// The node changed: it may be asked again.
    pub fn lift(&mut self, node: &str) {
        self.0.retain(|(barred, _), _| barred != node);
    }

    /// The nodes that are barred for each shape now.
    pub fn now(&self, now_ms: i64) -> BTreeMap<Shape, BTreeMap<&str, &Bar>> {
        let mut by_shape: BTreeMap<Shape, BTreeMap<&str, &Bar>> = BTreeMap::new();
        for ((node, shape), bar) in self.0.iter().filter(|(_, bar)| bar.until_ms > now_ms) {
            by_shape.entry(*shape).or_default().insert(node, bar);
        }
        by_shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_holds_for_its_shape_until_the_node_changes_or_the_back_off_passes() {
        let shape = Shape { cpu: 1, memory: 1, gpu: 1000, ..Shape::default() };
        let mut bars = Bars::default();
        bars.add("n0", shape, "no", 0);
        assert!(bars.now(FIRST - 1).contains_key(&shape));
        assert!(bars.now(FIRST).is_empty());
        bars.add("n0", shape, "no", FIRST);
        assert!(bars.now(FIRST * 3 - 1).contains_key(&shape), "the second bar is twice as long");
        bars.lift("n0");
        assert!(bars.now(0).is_empty());
    }
}
