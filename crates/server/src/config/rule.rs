//! The values that a key takes, in words for people and as a check.

use std::fmt;

use starling_wire::gossip::{MAX_NAME, MAX_ZONE};

use super::value::{self, Field, Given};
use crate::host::Host;

/// The values that a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// A node's name.
    Name,
    /// A zone's name.
    Zone,
    /// A directory, which need not exist.
    Directory,
    /// Where to listen; port 0 takes a free one.
    Listen,
    /// Where others connect to.
    Reachable,
    /// Where others may be found.
    Addresses,
    /// Host names.
    Hosts,
    /// A cluster's identity.
    Cluster,
    /// One of some words.
    Word(&'static [&'static str]),
    /// Log directives.
    Filter,
    /// When commits are synced.
    Sync,
    /// A whole number between the two, both included.
    Count(u64, u64),
    /// A size between the two, both included.
    Bytes(u64, u64),
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Rule {
    /// The text of `given`, if it has the right type and keeps to the rule, as far as the type of the key's field does not
    /// say it.
    pub(super) fn admit(self, given: &Given) -> Option<String> {
        let text = match (given, self) {
            (Given::Integer(number), Self::Count(..) | Self::Bytes(..)) => number.to_string(),
            (Given::Quoted(_), Self::Count(..)) | (Given::Integer(_) | Given::Other(_), _) => return None,
            (Given::Quoted(text) | Given::Bare(text), _) => text.clone(),
        };
        self.holds(&text).then_some(text)
    }

    fn holds(self, text: &str) -> bool {
        match self {
            Self::Name => (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control),
            Self::Zone => text.len() <= MAX_ZONE,
            Self::Directory => !text.is_empty() && !text.contains('\0'),
            Self::Reachable => text.parse::<Host>().is_ok_and(|host| is_reachable(&host)),
            Self::Addresses => {
                <Vec<Host> as Field>::parse(text).is_some_and(|hosts| hosts.iter().all(is_reachable))
            }
            Self::Listen | Self::Cluster | Self::Word(_) | Self::Sync => true,
            Self::Hosts => text.is_empty() || text.split(',').all(|name| is_host(name.trim())),
            Self::Filter => text.split(',').all(is_directive),
            Self::Count(least, most) => {
                value::plain_number(text).is_some_and(|n| (least..=most).contains(&n))
            }
            Self::Bytes(least, most) => value::parse_size(text).is_some_and(|n| (least..=most).contains(&n)),
        }
    }

    /// The unit that the numbers of this key count.
    pub(super) const fn unit(self) -> Option<&'static str> {
        match self {
            Self::Bytes(..) => Some("bytes"),
            _ => None,
        }
    }

    /// A value that shows the form, for keys without a default.
    pub(super) const fn example(self) -> &'static str {
        match self {
            Self::Reachable => "\"192.0.2.7:7201\"",
            Self::Addresses => "[\"n1.example:7201\", \"n2.example:7201\"]",
            Self::Cluster => "\"00112233445566778899aabbccddeeff\"",
            Self::Bytes(..) => "\"64MiB\"",
            _ => "\"\"",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => write!(f, "1 to {MAX_NAME} bytes of text without control characters"),
            Self::Zone => write!(f, "1 to {MAX_ZONE} characters of A-Z a-z 0-9 . _ -"),
            Self::Directory => f.write_str("the path of a directory"),
            Self::Listen => f.write_str(
                "an IP address or a host name that can be looked up, and a port, as in 127.0.0.1:7001, [::1]:7001 or n1.example:7001",
            ),
            Self::Addresses => f.write_str(
                "addresses that others can reach: IP addresses or host names, each with a port that is not 0",
            ),
            Self::Reachable => f.write_str(
                "an IP address and a port that others can connect to, as in 192.0.2.7:7201 (not 0.0.0.0, not port 0)",
            ),
            Self::Cluster => f.write_str("32 hexadecimal digits, not all 0, as `starling cluster status` shows them"),
            Self::Hosts => f.write_str("host names without port, separated by commas, as in starling.example,n1.lan"),
            Self::Word(words) => write!(f, "one of {}", words.join(", ")),
            Self::Filter => write!(
                f,
                "one of {}, or such a level per module, as in info,starling_node=debug",
                LEVELS.join(", ")
            ),
            Self::Sync => f.write_str("always, os, or interval and 1 to 60000 milliseconds, as in \"interval 100\""),
            Self::Count(least, most) => write!(f, "a whole number from {least} to {most}"),
            Self::Bytes(least, most) => write!(
                f,
                "a size from {} to {}: bytes, or a whole number of KiB, MiB, GiB, TiB, as in \"64MiB\"",
                value::size(*least),
                value::size(*most)
            ),
        }
    }
}

/// Whether others could dial it, as far as that shows before a name is looked up.
fn is_reachable(host: &Host) -> bool {
    host.port() != 0 && host.literal().is_none_or(|address| !address.ip().is_unspecified())
}

fn is_host(name: &str) -> bool {
    let in_label = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.split('.').all(|label| (1..=63).contains(&label.len()) && label.chars().all(in_label))
}

/// `level` or `target=level`.
fn is_directive(text: &str) -> bool {
    let (target, level) = text.split_once('=').unwrap_or(("all", text));
    let in_target = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '-');
    !target.is_empty() && target.chars().all(in_target) && LEVELS.contains(&level)
}
