//! Amounts as they are written: `4`, `0.5`, `500m`, `64Gi`.
//!
//! The notation is that of Kubernetes' quantities, read exactly; what does not come out whole is rounded up, as there. Only a part of a
//! GPU is rounded to the nearest thousandth, so that three thirds fit on one device.

use serde::Deserialize;

/// An amount as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

/// Digits that are read of a number; with one more, times 1Ei, they are still far from overflow.
const MOST_DIGITS: usize = 19;

/// How a resource is counted, and how much of it there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Milli-cores of a node or replica.
    Cores,
    /// Bytes of a node or replica.
    Bytes,
    /// Milli-GPU of a replica.
    Gpus,
    /// Milli-cores of an account.
    CoresOfMany,
    /// Bytes of an account.
    BytesOfMany,
    /// Milli-GPU of an account.
    GpusOfMany,
    /// Jobs, or devices by name.
    Pieces,
}

impl Unit {
    /// The most that may be written, in the engine's integers, so that no sum overflows.
    pub const fn most(self) -> i64 {
        match self {
            Self::Cores => 1_000_000_000,
            Self::Bytes => 1 << 52,
            Self::Gpus => 1_024_000,
            Self::CoresOfMany | Self::GpusOfMany => 1_000_000_000_000_000,
            Self::BytesOfMany => 1 << 60,
            Self::Pieces => 1_000_000_000,
        }
    }

    /// The same for people.
    const fn most_as_written(self) -> &'static str {
        match self {
            Self::Cores => "1000000",
            Self::Bytes => "4096Ti",
            Self::Gpus => "1024",
            Self::CoresOfMany | Self::GpusOfMany => "1000000000000",
            Self::BytesOfMany => "1Ei",
            Self::Pieces => "1000000000",
        }
    }

    /// Engine's integers in one, as a power of ten.
    const fn power(self) -> i32 {
        match self {
            Self::Bytes | Self::BytesOfMany | Self::Pieces => 0,
            Self::Cores | Self::Gpus | Self::CoresOfMany | Self::GpusOfMany => 3,
        }
    }
}

impl Quantity {
    /// In the engine's integers; or what is wrong with it.
    pub(crate) fn amount(&self, unit: Unit) -> Result<i64, String> {
        let text = self.0.trim();
        if let Some(rest) = text.strip_prefix('-') {
            let zero = written(rest).and_then(|(number, _)| number.times(0)) == Some((0, true));
            return if zero { Ok(0) } else { Err(negative_or_none(text, rest)) };
        }
        let (number, suffix) = written(text).ok_or_else(|| no_amount(text))?;
        let (binary, power) = scale(suffix).ok_or_else(|| no_amount(text))?;
        let number = Decimal { digits: number.digits.checked_mul(binary).unwrap_or(i128::MAX), ..number };
        let too_large = || format!("{text} is more than {}", unit.most_as_written());
        let (whole, exact) = number.times(power + unit.power()).ok_or_else(too_large)?;
        let amount = match unit {
            _ if exact => whole,
            Unit::Gpus | Unit::GpusOfMany => number.nearest(power + unit.power()).ok_or_else(too_large)?,
            Unit::Pieces => return Err(format!("{text} is not a whole number")),
            _ => whole + 1,
        };
        if matches!(unit, Unit::Gpus | Unit::GpusOfMany) && whole == 0 && !exact {
            return Err(format!("{text} is less than 0.001, the smallest part of a GPU"));
        }
        i64::try_from(amount).ok().filter(|amount| *amount <= unit.most()).ok_or_else(too_large)
    }
}

/// `digits` × 10^`power`.
#[derive(Clone, Copy)]
struct Decimal {
    digits: i128,
    power: i32,
}

impl Decimal {
    /// The whole part of this times a power of ten, and whether that is all of it; `None` if it is too large.
    fn times(self, power: i32) -> Option<(i128, bool)> {
        let power = self.power.saturating_add(power);
        let ten = |power: i32| 10i128.checked_pow(power.unsigned_abs());
        if self.digits == 0 {
            return Some((0, true));
        }
        if power >= 0 {
            return Some((ten(power)?.checked_mul(self.digits)?, true));
        }
        Some(ten(power).map_or((0, false), |by| (self.digits / by, self.digits % by == 0)))
    }

    /// The same to the nearest whole number.
    fn nearest(self, power: i32) -> Option<i128> {
        let twice = Self { digits: self.digits.checked_mul(2)?, ..self };
        Some((twice.times(power)?.0 + 1) / 2)
    }
}

/// The number that a text begins with, and what stands behind it. A power of ten belongs to the number: `1e3`.
fn written(text: &str) -> Option<(Decimal, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, mut rest) = text.split_at(end);
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || part.contains('.') {
        return None;
    }
    let all = format!("{whole}{part}");
    let digits = all.trim_start_matches('0');
    let mut power = -i32::try_from(part.len()).ok()?;
    // more digits than any amount has count as one more, so that what is above a whole number stays above it
    let digits = match digits.split_at_checked(MOST_DIGITS) {
        Some((kept, rest)) if !rest.is_empty() => {
            power = power.saturating_add(i32::try_from(rest.len()).ok()? - 1);
            format!("{kept}{}", u8::from(rest.bytes().any(|digit| digit != b'0')))
        }
        _ => digits.to_owned(),
    };
    let digits = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    if let Some(exponent) = rest.strip_prefix(['e', 'E'])
        && let Ok(exponent) = exponent.parse::<i32>()
    {
        (power, rest) = (power.saturating_add(exponent), "");
    }
    Some((Decimal { digits, power }, rest))
}

/// What a suffix stands for: a factor, and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    let binary = |n: u32| Some((1i128 << (10 * n), 0));
    match suffix {
        "" => Some((1, 0)),
        "n" => Some((1, -9)),
        "u" => Some((1, -6)),
        "m" => Some((1, -3)),
        "k" => Some((1, 3)),
        "M" => Some((1, 6)),
        "G" => Some((1, 9)),
        "T" => Some((1, 12)),
        "P" => Some((1, 15)),
        "E" => Some((1, 18)),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        _ => None,
    }
}

fn negative_or_none(text: &str, rest: &str) -> String {
    match written(rest) {
        Some((_, suffix)) if scale(suffix).is_some() => format!("{text} is negative"),
        _ => no_amount(text),
    }
}

/// What is told of a text that is no amount, with what was meant where that can be guessed.
fn no_amount(text: &str) -> String {
    let guess = written(text).and_then(|(_, suffix)| {
        let number = text.strip_suffix(suffix)?.trim_end();
        let bare = suffix.trim().trim_end_matches(['b', 'B']);
        let letter = bare.trim_end_matches(['i', 'I']).to_ascii_uppercase();
        let known = matches!(letter.as_str(), "K" | "M" | "G" | "T" | "P" | "E");
        let decimal = if letter == "K" { "k" } else { letter.as_str() };
        let both = format!("{number}{decimal} or {number}{letter}i");
        let guess = if bare.len() > letter.len() { format!("{number}{letter}i") } else { both };
        known.then_some(guess)
    });
    match guess {
        Some(guess) => format!("{text:?} is not an amount: say {guess}"),
        None => format!("{text:?} is not an amount, such as 4, 0.5 or 64Gi"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str, unit: Unit) -> Result<i64, String> {
        Quantity(text.to_owned()).amount(unit)
    }

    #[test]
    fn amounts_are_read_as_kubernetes_reads_them() {
        for (text, unit, is) in [
            ("4", Unit::Cores, 4000),
            ("0.5", Unit::Cores, 500),
            ("500m", Unit::Cores, 500),
            ("0.1", Unit::Cores, 100),
            ("1.0001", Unit::Cores, 1001),
            ("100u", Unit::Cores, 1),
            ("2k", Unit::Cores, 2_000_000),
            ("1.5Gi", Unit::Bytes, 3 << 29),
            ("64G", Unit::Bytes, 64_000_000_000),
            ("1e3", Unit::Bytes, 1000),
            ("1E3", Unit::Bytes, 1000),
            ("1.5", Unit::Bytes, 2),
            ("0.3Ki", Unit::Bytes, 308),
            ("1e-30", Unit::Bytes, 1),
            ("1e-99", Unit::Bytes, 1),
            ("0e99", Unit::Bytes, 0),
            ("4096Ti", Unit::Bytes, 1 << 52),
            ("1Ei", Unit::BytesOfMany, 1 << 60),
            (".5", Unit::Gpus, 500),
            ("0.3333", Unit::Gpus, 333),
            ("0.6666", Unit::Gpus, 667),
            ("0.001", Unit::Gpus, 1),
            ("-0", Unit::Gpus, 0),
            ("0.0", Unit::Gpus, 0),
            ("12", Unit::Pieces, 12),
            ("12.0", Unit::Pieces, 12),
            ("5.0000000000000000000000000000000000000000000001", Unit::Bytes, 6),
            ("5.0000000000000000000000000000000000000000000000", Unit::Bytes, 5),
            ("0.0000000000000000000000000000000000000000000001Ei", Unit::Bytes, 1),
        ] {
            assert_eq!(amount(text, unit), Ok(is), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_told_with_what_was_meant() {
        for (text, unit, says) in [
            ("64GB", Unit::Bytes, "\"64GB\" is not an amount: say 64G or 64Gi"),
            ("64 GiB", Unit::Bytes, "\"64 GiB\" is not an amount: say 64Gi"),
            ("64KB", Unit::Bytes, "\"64KB\" is not an amount: say 64k or 64Ki"),
            ("64gi", Unit::Bytes, "\"64gi\" is not an amount: say 64Gi"),
            ("64K", Unit::Bytes, "\"64K\" is not an amount: say 64k or 64Ki"),
            ("many", Unit::Gpus, "\"many\" is not an amount, such as 4, 0.5 or 64Gi"),
            (".nan", Unit::Gpus, "\".nan\" is not an amount, such as 4, 0.5 or 64Gi"),
            ("", Unit::Gpus, "\"\" is not an amount, such as 4, 0.5 or 64Gi"),
            ("1.2.3", Unit::Cores, "\"1.2.3\" is not an amount, such as 4, 0.5 or 64Gi"),
            ("-1Gi", Unit::Bytes, "-1Gi is negative"),
            ("-0.5", Unit::Gpus, "-0.5 is negative"),
            ("0.0001", Unit::Gpus, "0.0001 is less than 0.001, the smallest part of a GPU"),
            ("0.0009", Unit::GpusOfMany, "0.0009 is less than 0.001, the smallest part of a GPU"),
            ("1025", Unit::Gpus, "1025 is more than 1024"),
            ("99999999999Ti", Unit::Bytes, "99999999999Ti is more than 4096Ti"),
            ("1e99", Unit::Bytes, "1e99 is more than 4096Ti"),
            ("2.5", Unit::Pieces, "2.5 is not a whole number"),
        ] {
            assert_eq!(amount(text, unit), Err(says.to_owned()), "{text}");
        }
        let digits = "9".repeat(50);
        assert_eq!(amount(&digits, Unit::Cores), Err(format!("{digits} is more than 1000000")));
    }
}
