//! Numbers in text, each in the one form that all programs read alike.

/// A whole number in plain decimal: no sign, no blanks.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| plain)?.parse().ok()
}

/// The byte that two hexadecimal digits write. The caller has checked that they are digits.
pub(crate) const fn hex_byte(high: u8, low: u8) -> u8 {
    hex_digit(high) << 4 | hex_digit(low)
}

const fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a' - 10) & 0x0f,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_one_way_only() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "+1", "-1", " 1", "1 ", "0x1", "18446744073709551616"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!([hex_byte(b'0', b'9'), hex_byte(b'a', b'F'), hex_byte(b'F', b'f')], [0x09, 0xaf, 0xff]);
    }
}
