//! Powers and logarithms of two in integers: the same on every machine.

/// One octave.
pub(super) const OCTAVE: i64 = 1 << 16;

/// 2^(2^-k) for k = 1, 2, …, in 1/2^32.
const ROOTS: [u64; 16] = [
    6_074_001_000,
    5_107_605_667,
    4_683_695_048,
    4_485_121_744,
    4_389_014_833,
    4_341_736_423,
    4_318_288_544,
    4_306_612_134,
    4_300_785_774,
    4_297_875_550,
    4_296_421_177,
    4_295_694_175,
    4_295_330_720,
    4_295_149_004,
    4_295_058_149,
    4_295_012_722,
];

/// The logarithm to base 2 of a number (at least 1), in parts of [`OCTAVE`], rounded down.
pub(super) fn log2(x: i64) -> i64 {
    let x = u64::try_from(x).unwrap_or(0).max(1);
    let whole = x.ilog2();
    // the number as 1.…, in 1/2^31
    let mut part = if whole >= 31 { x >> (whole - 31) } else { x << (31 - whole) };
    let mut log = i64::from(whole);
    for _ in 0..16 {
        part = (part * part) >> 31;
        log <<= 1;
        if part >= 1 << 32 {
            part >>= 1;
            log |= 1;
        }
    }
    log
}

/// `x` times 2 to the power of `by` parts of [`OCTAVE`].
pub(super) fn times(x: i64, by: i64) -> i64 {
    let (whole, part) = (by >> 16, by & (OCTAVE - 1));
    let mut scaled = i128::from(x);
    for (root, bit) in ROOTS.iter().zip((0..16).rev()) {
        if part >> bit & 1 == 1 {
            scaled = (scaled * i128::from(*root)) >> 32;
        }
    }
    if whole >= 62 {
        return if x > 0 { i64::MAX } else { 0 };
    }
    let moved = if whole >= 0 { scaled << whole } else { scaled >> (-whole).min(127) };
    i64::try_from(moved).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_floats_say() {
        for x in [1i64, 2, 3, 5, 1000, 86_400_000, 1 << 40, i64::MAX / 2] {
            let is = log2(x) as f64 / OCTAVE as f64;
            assert!((is - (x as f64).log2()).abs() < 1e-4, "{x}: {is}");
        }
        for (x, by) in [
            (1000, 0),
            (1000, OCTAVE),
            (1_000_000, OCTAVE / 3),
            (1 << 40, -7 * OCTAVE / 2),
            (77, 40 * OCTAVE),
        ] {
            let is = x as f64 * 2f64.powf(by as f64 / OCTAVE as f64);
            assert!((times(x, by) as f64 - is).abs() <= 2.0 + is * 1e-4, "{x} {by}: {}", times(x, by));
        }
        assert_eq!((times(5, 70 * OCTAVE), times(5, -200 * OCTAVE), times(0, 70 * OCTAVE)), (i64::MAX, 0, 0));
    }
}
