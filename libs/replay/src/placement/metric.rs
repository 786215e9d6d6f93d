//! What a replay reports: allocation and fragmentation over what has arrived, in whole percents of capacity.

/// Columns 0 to 130 %.
pub const COLUMNS: usize = 131;

/// Sums for each column.
#[derive(Clone, Debug)]
pub struct Curve {
    capacity: i64,
    /// Arrivals, allocated hundredths of a percent, fragmented percent.
    sums: Vec<(u32, i64, f64)>,
}

/// `part` of `whole` in steps of 1/`scale`, to the nearest step, halves to the even one as the study's analysis rounds.
fn steps(part: i64, whole: i64, scale: i64) -> i64 {
    let whole = whole.max(1);
    let (step, rest) = ((part * scale).div_euclid(whole), (part * scale).rem_euclid(whole));
    step + i64::from(2 * rest > whole || (2 * rest == whole && step % 2 != 0))
}

impl Curve {
    /// Of a cluster of so many milli-GPU.
    pub fn new(capacity: i64) -> Self {
        Self { capacity, sums: vec![(0, 0, 0.0); COLUMNS] }
    }

    /// After an arrival: milli-GPU arrived, allocated, and of no use to the mix.
    #[allow(clippy::cast_precision_loss)] // below 2⁵³
    pub fn after(&mut self, arrived: i64, allocated: i64, fragmented: f64) {
        let column = usize::try_from(steps(arrived, self.capacity, 100)).unwrap_or(usize::MAX);
        if let Some((count, hundredths, percent)) = self.sums.get_mut(column) {
            *count += 1;
            *hundredths += steps(allocated, self.capacity, 10_000);
            *percent += fragmented / self.capacity as f64 * 100.0;
        }
    }

    /// The mean of each column, to two decimals; a column without arrivals repeats the one before.
    pub fn columns(&self) -> (Vec<f64>, Vec<f64>) {
        let (mut allocated, mut fragmented) = (Vec::with_capacity(COLUMNS), Vec::with_capacity(COLUMNS));
        let mut last = (0.0, 0.0);
        for (count, hundredths, percent) in &self.sums {
            if *count > 0 {
                last = (
                    mean_of_hundredths(*hundredths, *count),
                    (percent / f64::from(*count) * 100.0).round() / 100.0,
                );
            }
            allocated.push(last.0);
            fragmented.push(last.1);
        }
        (allocated, fragmented)
    }
}

#[allow(clippy::cast_precision_loss)] // below 2⁵³
fn mean_of_hundredths(sum: i64, count: u32) -> f64 {
    steps(sum, i64::from(count), 1) as f64 / 100.0
}
