//! Kubernetes quantities (`500m`, `4Gi`, `1e3`) as integers.

/// A quantity in thousandths, rounded up as Kubernetes does; `None` when it is not one or does not fit.
pub(crate) fn milli(text: &str) -> Option<i128> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (negative, number) = match number.strip_prefix(['-', '+']) {
        Some(rest) => (number.starts_with('-'), rest),
        None => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.chars().all(|c| c.is_ascii_digit());
    if whole.len() + fraction.len() == 0
        || whole.len() + fraction.len() > 24
        || !digits(whole)
        || !digits(fraction)
    {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (base, exponent) = scale(suffix)?;
    // value * 1000 = mantissa * factor / 10^fraction, in exact integers
    let mut numerator = mantissa.checked_mul(1000)?;
    let mut divisor = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let factor = base.checked_pow(exponent.unsigned_abs())?;
    if exponent >= 0 {
        numerator = numerator.checked_mul(factor)?;
    } else {
        divisor = divisor.checked_mul(factor)?;
    }
    let up = numerator.checked_add(divisor - 1)? / divisor;
    Some(if negative { -up } else { up })
}

fn scale(suffix: &str) -> Option<(i128, i32)> {
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
        other => (10, other.strip_prefix(['e', 'E'])?.parse().ok().filter(|e: &i32| (-18..=18).contains(e))?),
    })
}

#[cfg(test)]
mod tests {
    use super::milli;

    #[test]
    fn quantities_are_read_exactly_and_rounded_up() {
        for (text, want) in [
            ("1", 1000),
            ("500m", 500),
            ("0.1", 100),
            ("1.5Gi", 1_610_612_736_000),
            ("2k", 2_000_000),
            ("1e3", 1_000_000),
            ("1E", 1_000_000_000_000_000_000_000),
            ("100u", 1),
            ("-2", -2000),
        ] {
            assert_eq!(milli(text), Some(want), "{text}");
        }
        for text in ["", "m", "1 Gi", "1.2.3", "1Zi", "0x10", "1e99", "--1"] {
            assert_eq!(milli(text), None, "{text}");
        }
    }
}
