//! Identical nodes of whole GPUs: a gang that fits one node goes on the tightest, a larger one on empty nodes.

/// Which GPUs a gang holds: (node, GPUs).
pub(super) type Places = Vec<(u32, u32)>;

#[derive(Clone, Debug)]
pub(super) struct Pool {
    free: Vec<u32>,
    each: u32,
    total: u64,
}

impl Pool {
    pub fn new(nodes: u32, each: u32) -> Self {
        Self { free: vec![each; nodes as usize], each, total: u64::from(nodes) * u64::from(each) }
    }

    /// All GPUs are free again.
    pub fn reset(&mut self) {
        self.free.fill(self.each);
        self.total = self.free.len() as u64 * u64::from(self.each);
    }

    /// GPUs that are free.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Takes room for a gang, if there is: the tightest node (of equal ones the first) for one that fits a node; empty nodes
    /// in order for the full nodes of a larger one, and the tightest other for the rest.
    pub fn place(&mut self, gpus: u32, places: &mut Places) -> bool {
        places.clear();
        if u64::from(gpus) > self.total {
            return false;
        }
        let (full, rest) = if gpus > self.each { (gpus / self.each, gpus % self.each) } else { (0, gpus) };
        if full > 0 {
            let empty = self.free.iter().zip(0u32..).filter(|(free, _)| **free == self.each);
            places.extend(empty.map(|(_, node)| (node, self.each)).take(full as usize));
            if places.len() < full as usize {
                return false;
            }
        }
        if rest > 0 {
            let fits = self
                .free
                .iter()
                .zip(0u32..)
                .filter(|(free, node)| **free >= rest && !places.iter().any(|(taken, _)| taken == node));
            let Some((_, node)) = fits.min_by_key(|(free, node)| (**free, *node)) else { return false };
            places.push((node, rest));
        }
        self.take(places);
        true
    }

    fn take(&mut self, places: &Places) {
        for (node, count) in places {
            self.free[*node as usize] -= count;
            self.total -= u64::from(*count);
        }
    }

    /// Gives a gang's GPUs back.
    pub fn release(&mut self, places: &Places) {
        for (node, count) in places {
            self.free[*node as usize] += count;
            self.total += u64::from(*count);
        }
    }

    /// Could a gang ever be placed?
    pub fn could_hold(&self, gpus: u32) -> bool {
        let nodes_needed = u64::from(gpus).div_ceil(u64::from(self.each.max(1)));
        self.each > 0 && nodes_needed <= self.free.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gang_takes_the_tightest_node_and_a_larger_one_empty_nodes() {
        let mut pool = Pool::new(3, 8);
        let mut at = Places::new();
        assert!(pool.place(5, &mut at));
        assert_eq!(at, [(0, 5)]);
        assert!(pool.place(3, &mut at));
        assert_eq!(at, [(0, 3)], "the tightest");
        assert!(pool.place(12, &mut at));
        assert_eq!(at, [(1, 8), (2, 4)]);
        assert!(!pool.place(5, &mut at), "4 are left");
        assert!(pool.place(4, &mut at));
        assert_eq!(pool.total(), 0);
        pool.release(&at);
        assert_eq!(pool.total(), 4);
        assert!(pool.could_hold(24) && !pool.could_hold(25));
    }
}
