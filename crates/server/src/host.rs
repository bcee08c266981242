//! Addresses as people write them: an IP address or a host name, and a port.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// `10.0.0.1:7201`, `[::1]:7201` or `n1.example:7201`. A name is looked up whenever it is used: it may lead somewhere
/// else by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    text: String,
    literal: Option<SocketAddr>,
}

/// Text that is no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an address is IP:PORT or NAME:PORT, such as 10.0.0.1:7201, [::1]:7201 or n1.example:7201")]
pub struct BadHost;

/// Longest host name (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;

impl FromStr for Host {
    type Err = BadHost;

    fn from_str(text: &str) -> Result<Self, BadHost> {
        let literal = text.parse().ok();
        let is_name = || text.rsplit_once(':').is_some_and(|(name, port)| is_name(name) && is_port(port));
        if literal.is_none() && !is_name() {
            return Err(BadHost);
        }
        Ok(Self { text: text.to_owned(), literal })
    }
}

/// A last part of digits alone is an IP address that is written wrongly.
fn is_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let ends = |end: Option<char>| end.is_some_and(|c| c != '-');
        let allowed = part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        allowed && ends(part.chars().next()) && ends(part.chars().next_back()) && part.len() <= 63
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= LONGEST_NAME && name.split('.').all(is_part) && !last.bytes().all(|b| b.is_ascii_digit())
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

impl Host {
    /// The address, if it is one and no name.
    pub const fn literal(&self) -> Option<SocketAddr> {
        self.literal
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.text.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_default()
    }

    /// All addresses that it leads to now. Blocks while a name is looked up.
    ///
    /// # Errors
    /// If the name cannot be looked up, or leads nowhere.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        if let Some(literal) = self.literal {
            return Ok(vec![literal]);
        }
        let mut found: Vec<_> = self.text.to_socket_addrs()?.collect();
        found.dedup();
        match found.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "the name leads to no address")),
            false => Ok(found),
        }
    }

    /// One address: of several the first of IPv4, where there is one.
    ///
    /// # Errors
    /// As [`Host::resolve`].
    pub fn resolve_one(&self) -> io::Result<SocketAddr> {
        let found = self.resolve()?;
        let first = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
        first.copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl From<SocketAddr> for Host {
    fn from(address: SocketAddr) -> Self {
        Self { text: address.to_string(), literal: Some(address) }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_taken_and_nothing_else() {
        for good in [
            "10.0.0.1:7201",
            "[::1]:7201",
            "localhost:1",
            "n1.example:7201",
            "my_pod-0.svc.local:65535",
            "n1:0",
        ] {
            assert_eq!(good.parse::<Host>().map(|host| host.to_string()).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "n1",
            "n1:",
            ":7201",
            "n1:70000",
            "n1:+1",
            "n1:port",
            "10.0.0.1",
            "10.0.0.256:1",
            "10.0.0:7201",
            "::1:7201",
            "n 1:1",
            "-n1:1",
            "n1-:1",
            "a..b:1",
            "http://n1:1",
            "n1:1/",
            "[::1:7201",
            "ñ:1",
        ] {
            assert_eq!(bad.parse::<Host>(), Err(BadHost), "{bad}");
        }
    }

    #[test]
    fn a_name_leads_to_addresses() {
        let host: Host = "localhost:7201".parse().unwrap();
        assert_eq!(host.literal(), None);
        assert!(
            host.resolve()
                .unwrap()
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 7201)
        );
        assert!(host.resolve_one().unwrap().ip().is_loopback());
        let nowhere: Host = "nowhere.invalid:7201".parse().unwrap();
        assert!(nowhere.resolve().is_err());
    }
}
