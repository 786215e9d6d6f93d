//! Quantities as people write them: `500m`, `2.5`, `16Gi`, `0.5`, `1h30m`.

use std::time::Duration;

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Not of the form.
    #[error("{text:?} is no {what}: write for example {example}")]
    BadForm {
        /// What was given.
        text: String,
        /// What it should be.
        what: &'static str,
        /// How to write it.
        example: &'static str,
    },
    /// Does not fit.
    #[error("{0:?} is too large")]
    TooLarge(String),
    /// Below zero.
    #[error("{0:?} is negative")]
    Negative(String),
}

/// Reads a decimal number times `scale` exactly; a remainder below one unit is refused.
fn scaled(text: &str, number: &str, scale: i64, bad: &QuantityError) -> Result<i64, QuantityError> {
    if number.starts_with('-') {
        return Err(QuantityError::Negative(text.to_owned()));
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty())
        || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        || fraction.len() > 9
    {
        return Err(bad.clone());
    }
    let too_large = || QuantityError::TooLarge(text.to_owned());
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_large())? };
    let denominator = 10i128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let numerator: i128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| bad.clone())? };
    let total = whole
        .checked_mul(denominator)
        .and_then(|w| w.checked_add(numerator))
        .and_then(|n| n.checked_mul(i128::from(scale)))
        .ok_or_else(too_large)?;
    if total % denominator != 0 {
        return Err(bad.clone());
    }
    i64::try_from(total / denominator).map_err(|_| too_large())
}

/// CPU in millicores: `2`, `0.5`, `500m`.
pub fn parse_cpu(text: &str) -> Result<i64, QuantityError> {
    let bad =
        QuantityError::BadForm { text: text.to_owned(), what: "amount of CPU", example: "2, 0.5 or 500m" };
    match text.strip_suffix('m') {
        Some(millis) => scaled(text, millis, 1, &bad),
        None => scaled(text, text, 1000, &bad),
    }
}

/// GPUs in thousandths: `2`, `0.5`.
pub fn parse_gpu(text: &str) -> Result<i64, QuantityError> {
    let bad = QuantityError::BadForm { text: text.to_owned(), what: "number of GPUs", example: "2 or 0.5" };
    scaled(text, text, 1000, &bad)
}

/// Memory in bytes: `16Gi`, `512Mi`, `1.5G`, `1073741824`.
pub fn parse_bytes(text: &str) -> Result<i64, QuantityError> {
    const UNITS: [(&str, i64); 13] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("k", 1_000),
        ("K", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("", 1),
    ];
    let bad =
        QuantityError::BadForm { text: text.to_owned(), what: "amount of memory", example: "16Gi or 512Mi" };
    let (number, scale) = UNITS
        .iter()
        .find_map(|(suffix, scale)| Some((text.strip_suffix(suffix)?, *scale)))
        .unwrap_or((text, 1));
    scaled(text, number, scale, &bad)
}

/// A duration: `90s`, `10m`, `1h30m`, `2d`, `250ms`, or plain seconds.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let bad = || QuantityError::BadForm {
        text: text.to_owned(),
        what: "duration",
        example: "90s, 10m, 1h30m or 2d",
    };
    if text.starts_with('-') {
        return Err(QuantityError::Negative(text.to_owned()));
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map(Duration::from_secs).map_err(|_| QuantityError::TooLarge(text.to_owned()));
    }
    let too_large = || QuantityError::TooLarge(text.to_owned());
    let mut rest = text;
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = match rest.get(..digits) {
            Some(n) if !n.is_empty() => n.parse().map_err(|_| too_large())?,
            _ => return Err(bad()),
        };
        rest = rest.get(digits..).unwrap_or_default();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match rest.get(..letters).unwrap_or_default() {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        rest = rest.get(letters..).unwrap_or_default();
        millis = number.checked_mul(unit).and_then(|n| n.checked_add(millis)).ok_or_else(too_large)?;
    }
    if text.is_empty() { Err(bad()) } else { Ok(Duration::from_millis(millis)) }
}

/// Thousandths as people write them: 1500 is `1.5`.
pub fn format_millis(millis: i64) -> String {
    let (whole, rest) = (millis / 1000, (millis % 1000).abs());
    if rest == 0 { whole.to_string() } else { format!("{whole}.{rest:03}").trim_end_matches('0').to_owned() }
}

/// Bytes as people write them: `16Gi`, `1.5Gi`, `512Mi`; rounded to a tenth.
pub fn format_bytes(bytes: i64) -> String {
    const UNITS: [(&str, i64); 5] =
        [("Pi", 1 << 50), ("Ti", 1 << 40), ("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)];
    for (suffix, unit) in UNITS {
        if bytes.abs() >= unit {
            let tenths = (i128::from(bytes) * 10 + i128::from(unit) / 2) / i128::from(unit);
            let (whole, tenth) = (tenths / 10, (tenths % 10).abs());
            return if tenth == 0 { format!("{whole}{suffix}") } else { format!("{whole}.{tenth}{suffix}") };
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read_exactly() {
        assert_eq!(parse_cpu("2"), Ok(2000));
        assert_eq!(parse_cpu("0.5"), Ok(500));
        assert_eq!(parse_cpu("250m"), Ok(250));
        assert_eq!(parse_gpu("0.1"), Ok(100));
        assert_eq!(parse_bytes("1.5Gi"), Ok(1_610_612_736));
        assert_eq!(parse_bytes("16G"), Ok(16_000_000_000));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(format_millis(1500), "1.5");
        assert_eq!(format_bytes(1_610_612_736), "1.5Gi");
    }

    #[test]
    fn nonsense_is_refused_and_never_wraps() {
        for text in ["", "-1", "1e3", "abc", "1.2.3", "99999999999999999999", "0.0001", "."] {
            assert!(parse_gpu(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_bytes("9999999Ei"), Err(QuantityError::TooLarge("9999999Ei".into())));
        for text in ["", "h", "1x", "1h2", "99999999999999999999d"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }
}
