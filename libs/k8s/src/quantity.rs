//! Kubernetes quantities (`500m`, `4Gi`, `1e3`) as whole numbers of a small unit.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// A quantity in thousandths, rounded up as Kubernetes does; 0 for what is negative or no quantity at all.
pub fn millis(quantity: &Quantity) -> i64 {
    let value = scaled(&quantity.0, 1000).unwrap_or(0);
    i64::try_from(value.max(0)).unwrap_or(i64::MAX)
}

/// A quantity in whole units, rounded up; 0 for what is negative or no quantity at all.
pub fn units(quantity: &Quantity) -> i64 {
    let value = scaled(&quantity.0, 1).unwrap_or(0);
    i64::try_from(value.max(0)).unwrap_or(i64::MAX)
}

fn scaled(text: &str, unit: i128) -> Option<i128> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (base, exponent) = factor(suffix)?;
    let factor = base.checked_pow(exponent.unsigned_abs())?;
    let mut numerator = mantissa.checked_mul(unit)?;
    let mut divisor = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    if exponent >= 0 {
        numerator = numerator.checked_mul(factor)?;
    } else {
        divisor = divisor.checked_mul(factor)?;
    }
    Some(numerator.checked_add(divisor - 1)?.div_euclid(divisor))
}

fn factor(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "" => (10, 0),
        "n" => (10, -9),
        "u" => (10, -6),
        "m" => (10, -3),
        "k" => (10, 3),
        "M" => (10, 6),
        "G" => (10, 9),
        "T" => (10, 12),
        "P" => (10, 15),
        "E" => (10, 18),
        "Ki" => (1024, 1),
        "Mi" => (1024, 2),
        "Gi" => (1024, 3),
        "Ti" => (1024, 4),
        "Pi" => (1024, 5),
        "Ei" => (1024, 6),
        exponent => {
            let exponent: i32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            (10, Some(exponent).filter(|e| (-18..=18).contains(e))?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly_and_rounded_up() {
        let of = |text: &str| Quantity(text.to_owned());
        assert_eq!(millis(&of("2")), 2000);
        assert_eq!(millis(&of("250m")), 250);
        assert_eq!(millis(&of("1.5")), 1500);
        assert_eq!(units(&of("4Gi")), 4 << 30);
        assert_eq!(units(&of("1e3")), 1000);
        assert_eq!(units(&of("100m")), 1);
        for nonsense in ["", "x", "-1", "1e99", "1Zi"] {
            assert_eq!(units(&of(nonsense)), 0, "{nonsense}");
        }
        assert_eq!(units(&of("9999999999E")), i64::MAX);
    }
}
