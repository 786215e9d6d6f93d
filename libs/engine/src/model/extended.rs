//! Devices that a node offers by name and by whole count: MIG profiles, RDMA devices…

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::ExtendedIx;

/// Whole counts of named devices; of those not named, none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extended {
    /// In order; those beyond the last have no count.
    names: [ExtendedIx; Extended::MOST],
    counts: [u32; Extended::MOST],
}

impl Extended {
    /// So many names may be asked for at once.
    pub const MOST: usize = 4;

    /// Those of equal name are added up. `None`: they are too many names.
    #[must_use]
    pub fn new(pairs: impl IntoIterator<Item = (ExtendedIx, u32)>) -> Option<Self> {
        pairs
            .into_iter()
            .try_fold(Self::default(), |mut all, (name, count)| all.add(name, count).then_some(all))
    }

    /// Adds some (saturating); false: there would be too many names.
    pub fn add(&mut self, name: ExtendedIx, count: u32) -> bool {
        if count == 0 {
            return true;
        }
        let len = self.len();
        let at = self.names[..len].partition_point(|known| *known < name);
        if at < len && self.names[at] == name {
            self.counts[at] = self.counts[at].saturating_add(count);
            return true;
        }
        if len == Self::MOST {
            return false;
        }
        self.names[at..=len].rotate_right(1);
        self.counts[at..=len].rotate_right(1);
        (self.names[at], self.counts[at]) = (name, count);
        true
    }

    fn len(&self) -> usize {
        self.counts.iter().position(|count| *count == 0).unwrap_or(Self::MOST)
    }

    /// Is nothing asked for?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts[0] == 0
    }

    /// Name and count, in order of name; no count is 0.
    pub fn iter(&self) -> impl Iterator<Item = (ExtendedIx, i64)> + '_ {
        let pairs = self.names.iter().zip(&self.counts).take_while(|(_, count)| **count > 0);
        pairs.map(|(name, count)| (*name, i64::from(*count)))
    }

    /// How many of one name.
    #[must_use]
    pub fn of(&self, name: ExtendedIx) -> i64 {
        self.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| count)
    }

    /// The same without one name.
    #[must_use]
    pub fn without(&self, name: ExtendedIx) -> Self {
        let mut rest = Self::default();
        for (known, count) in self.names.iter().zip(&self.counts).filter(|(known, _)| **known != name) {
            rest.add(*known, *count);
        }
        rest
    }
}

impl Serialize for Extended {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Extended {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(ExtendedIx, u32)>::deserialize(deserializer)?;
        Self::new(pairs).ok_or_else(|| de::Error::custom("more than four names"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(u32, u32)]) -> Option<Extended> {
        Extended::new(pairs.iter().map(|(name, count)| (ExtendedIx(*name), *count)))
    }

    #[test]
    fn the_same_counts_are_equal_in_whatever_order_they_were_named() {
        let one = of(&[(7, 2), (1, 1), (3, 4)]).unwrap();
        assert_eq!(one, of(&[(3, 1), (1, 1), (7, 2), (3, 3), (9, 0)]).unwrap());
        assert_eq!(
            one.iter().collect::<Vec<_>>(),
            [(ExtendedIx(1), 1), (ExtendedIx(3), 4), (ExtendedIx(7), 2)]
        );
        assert_eq!((one.of(ExtendedIx(3)), one.of(ExtendedIx(4))), (4, 0));
        assert_eq!(one.without(ExtendedIx(3)), of(&[(1, 1), (7, 2)]).unwrap());
    }

    #[test]
    fn a_fifth_name_is_refused() {
        assert!(of(&[(1, 1), (2, 1), (3, 1), (4, 1), (4, 1)]).is_some());
        assert!(of(&[(1, 1), (2, 1), (3, 1), (4, 1), (0, 1)]).is_none());
        assert!(Extended::default().is_empty() && of(&[(2, 0)]).unwrap().is_empty());
    }
}
