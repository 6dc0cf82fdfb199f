//! Sizes of volumes: Kubernetes quantities as bytes.

/// Smallest volume that is offered: below this a filesystem's own bookkeeping is most of it.
pub const MIN_VOLUME_BYTES: u64 = 1 << 20;

/// Why a quantity is no size for a volume. Display completes "the size … ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSize {
    /// Not a Kubernetes quantity.
    #[error("{text:?} is not a quantity such as 10Gi")]
    Malformed {
        /// What was given.
        text: String,
    },
    /// Zero, negative or below [`MIN_VOLUME_BYTES`].
    #[error("{text:?} is below the smallest volume, 1Mi")]
    TooSmall {
        /// What was given.
        text: String,
    },
    /// More than 64 bits of bytes.
    #[error("{text:?} is larger than any pool")]
    TooLarge {
        /// What was given.
        text: String,
    },
}

/// Bytes of a Kubernetes quantity, rounded up to whole bytes.
///
/// Grammar: `k8s.io/apimachinery/pkg/api/resource.Quantity` (decimal and binary suffixes, exponent).
pub fn parse_quantity(text: &str) -> Result<u64, InvalidSize> {
    let malformed = || InvalidSize::Malformed {
        text: text.chars().take(64).collect(),
    };
    let too_large = || InvalidSize::TooLarge {
        text: text.chars().take(64).collect(),
    };
    let (negative, rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let digits = rest
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || fraction.len() > 18 {
        return Err(malformed());
    }
    let mantissa: u128 = format!("{whole}{fraction}").parse().map_err(|_| too_large())?;
    let (multiply, mut divide): (u128, u128) = multiplier(suffix).ok_or_else(malformed)?;
    divide *= 10u128.pow(u32::try_from(fraction.len()).map_err(|_| malformed())?);
    let bytes = mantissa.checked_mul(multiply).ok_or_else(too_large)?.div_ceil(divide);
    let bytes = u64::try_from(bytes).map_err(|_| too_large())?;
    if negative && bytes > 0 {
        return Err(InvalidSize::TooSmall { text: text.to_owned() });
    }
    Ok(bytes)
}

/// Bytes of a volume: a quantity of at least [`MIN_VOLUME_BYTES`].
pub fn parse_volume_size(text: &str) -> Result<u64, InvalidSize> {
    match parse_quantity(text)? {
        bytes if bytes < MIN_VOLUME_BYTES => Err(InvalidSize::TooSmall { text: text.to_owned() }),
        bytes => Ok(bytes),
    }
}

/// Bytes in the largest binary unit that is exact, as Kubernetes prints them.
pub fn format_quantity(bytes: u64) -> String {
    for (shift, unit) in [(60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

fn multiplier(suffix: &str) -> Option<(u128, u128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10u128
                .checked_pow(exponent.unsigned_abs())
                .filter(|_| exponent.unsigned_abs() <= 18)?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_in_kubernetes() {
        for (text, bytes) in [
            ("1", 1),
            ("1Ki", 1024),
            ("1.5Gi", 1_610_612_736),
            ("10G", 10_000_000_000),
            ("100m", 1),
            ("1e3", 1000),
            ("1E", 10u64.pow(18)),
            ("0", 0),
            ("-0", 0),
            ("+1k", 1000),
            (".5Ki", 512),
            ("12e-1", 2),
        ] {
            assert_eq!(parse_quantity(text), Ok(bytes), "{text}");
        }
        for text in ["", ".", "x", "1 Gi", "1gi", "1.2.3", "1e", "1e99", "Gi"] {
            assert!(
                matches!(parse_quantity(text), Err(InvalidSize::Malformed { .. })),
                "{text}"
            );
        }
        assert!(matches!(parse_quantity("100Ei"), Err(InvalidSize::TooLarge { .. })));
    }

    #[test]
    fn a_volume_has_a_size() {
        for text in ["0", "-1Gi", "1023Ki"] {
            assert!(
                matches!(parse_volume_size(text), Err(InvalidSize::TooSmall { .. })),
                "{text}"
            );
        }
        assert_eq!(parse_volume_size("1Mi"), Ok(1 << 20));
    }

    #[test]
    fn sizes_print_in_the_largest_exact_unit() {
        for (bytes, text) in [(0, "0"), (1 << 30, "1Gi"), (3 << 29, "1536Mi"), (1_000_000, "1000000")] {
            assert_eq!(format_quantity(bytes), text);
            assert_eq!(parse_quantity(text), Ok(bytes));
        }
    }
}
