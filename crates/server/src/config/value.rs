//! Values as people write them: sizes with units, and names that are nearly right.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use starling_gossip::Preset;
use starling_ring::role::Zone;
use starling_storage::SyncMode;
use starling_types::ClusterId;

use crate::host::Host;

/// A value as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    /// A TOML string.
    Quoted(String),
    /// A TOML integer.
    Integer(i128),
    /// A variable or flag: the key decides what it is.
    Bare(String),
    /// A TOML value that no key takes.
    Other(String),
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quoted(text) | Self::Bare(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// A field of the settings: how it reads and shows, its rule aside.
pub(super) trait Field: Sized {
    /// From text that obeys the key's rule.
    fn parse(text: &str) -> Option<Self>;
    /// As it stands in a file; `None` if it is unset.
    fn show(&self) -> Option<String>;
}

impl<F: Field> Field for Option<F> {
    fn parse(text: &str) -> Option<Self> {
        F::parse(text).map(Some)
    }

    fn show(&self) -> Option<String> {
        self.as_ref().and_then(F::show)
    }
}

macro_rules! fields {
    ($($type:ty: $parse:expr, $show:expr;)+) => {$(
        impl Field for $type {
            fn parse(text: &str) -> Option<Self> {
                let parse: fn(&str) -> Option<Self> = $parse;
                parse(text)
            }

            fn show(&self) -> Option<String> {
                let show: fn(&Self) -> String = $show;
                Some(show(self))
            }
        }
    )+};
}

fields! {
    String: |text| Some(text.into()), |name| quoted(name);
    PathBuf: |text| Some(text.into()), |path| quoted(&path.to_string_lossy());
    Zone: |text| Self::new(text).ok(), |zone| quoted(zone.as_str());
    // A name is looked up here, once: what a node listens on does not move while it runs.
    SocketAddr: |text| text.parse::<Host>().ok()?.resolve_one().ok(), |address| quoted(&address.to_string());
    ClusterId: |text| text.parse().ok().filter(|id: &Self| id.is_some()), |id| quoted(&id.to_string());
    Preset: |text| text.parse().ok(), |preset| quoted(match preset {
        Self::Lan => "lan",
        Self::Calm => "calm",
        Self::Wan => "wan",
    });
    SyncMode: sync_mode, |mode| quoted(&match mode {
        Self::Always => "always".into(),
        Self::Interval(span) => format!("interval {}", span.as_millis()),
        Self::Os => "os".into(),
    });
    // A count or bytes: both read alike, because a count's rule has refused units by now.
    u32: |text| parse_size(text)?.try_into().ok(), Self::to_string;
    u64: parse_size, Self::to_string;
    usize: |text| parse_size(text)?.try_into().ok(), Self::to_string;
}

/// A list of addresses, separated by commas; none is unset.
impl Field for Vec<Host> {
    fn parse(text: &str) -> Option<Self> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| part.parse().ok()).collect()
    }

    fn show(&self) -> Option<String> {
        let hosts: Vec<_> = self.iter().map(|host| quoted(&host.to_string())).collect();
        (!hosts.is_empty()).then(|| format!("[{}]", hosts.join(", ")))
    }
}

fn sync_mode(text: &str) -> Option<SyncMode> {
    match text.split_once(' ') {
        None if text == "always" => Some(SyncMode::Always),
        None if text == "os" => Some(SyncMode::Os),
        Some(("interval", ms)) => {
            let ms = plain_number(ms).filter(|ms| (1..=60_000).contains(ms))?;
            Some(SyncMode::Interval(Duration::from_millis(ms)))
        }
        _ => None,
    }
}

const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

/// `64MiB`, `64 MiB` or `67108864`.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (digits, shift) = match unit {
        Some((unit, shift)) => (text.strip_suffix(unit)?.trim_end_matches(' '), *shift),
        None => (text, 0),
    };
    plain_number(digits)?.checked_mul(1 << shift)
}

/// Digits and nothing else: `parse` would take a sign.
pub(super) fn plain_number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// In the largest unit that leaves a whole number; `64MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let fits = |(_, shift): &&(&str, u32)| bytes >= 1 << shift && bytes.trailing_zeros() >= *shift;
    match UNITS.iter().find(fits) {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => "0B".into(),
    }
}

/// As a TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The name in `known` that `written` was probably meant to be.
pub(super) fn nearest<S: AsRef<str>>(written: &str, known: impl Iterator<Item = S>) -> Option<S> {
    let most = 2.max(written.len() / 5);
    known
        .map(|name| (strsim::levenshtein(written, name.as_ref()), name))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_with_and_without_units() {
        for (text, bytes) in [
            ("0", 0),
            ("7", 7),
            ("7B", 7),
            ("64KiB", 64 << 10),
            ("64 MiB", 64 << 20),
            ("2GiB", 2 << 30),
            ("1TiB", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in ["", "MiB", "-1", "+1", "1.5GiB", "64MB", "64mib", "64M", "1MiBMiB", "99999999999TiB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_show_in_the_largest_whole_unit() {
        for (bytes, text) in
            [(0, "0B"), (1_000, "1000B"), (1 << 10, "1KiB"), (3 << 19, "1536KiB"), (1 << 40, "1TiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        let known = ["resp", "http", "quic"];
        assert_eq!(nearest("rsep", known.iter()), Some(&"resp"));
        assert_eq!(nearest("htttp", known.iter()), Some(&"http"));
        assert_eq!(nearest("colour", known.iter()), None);
    }
}
