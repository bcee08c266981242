//! The checks of a request's head that hyper leaves to us: which host is meant, and that a body has one framing. (Of a
//! length and chunks it takes the chunks and closes the connection after them; every other ambiguity of lengths and lines
//! it refuses itself.)

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::header::{HOST, TRANSFER_ENCODING};
use hyper::{Request, StatusCode, Version};

use super::problem::Problem;
use super::stated;
use crate::service::KvService;

/// Refuses what another HTTP implementation on the way may have read differently, what is not understood, and requests
/// for another host: a page of that host, opened in a browser, would read and write here once its name resolves to this
/// node's address (DNS rebinding).
pub(super) fn check<S: KvService, B>(service: &S, request: &Request<B>) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() || (host.is_none() && request.version() == Version::HTTP_11) {
        return Err(Problem::bad_request("an HTTP/1.1 request has one Host header").closing());
    }
    if request.headers().get_all(TRANSFER_ENCODING).iter().count() > 1 {
        return Err(Problem::bad_request("Transfer-Encoding is stated more than once").closing());
    }
    let stated = host.map(|host| host.to_str().unwrap_or("?"));
    let targeted = request.uri().authority().map(hyper::http::uri::Authority::as_str);
    // Whatever checks a node's health calls it as it likes, and learns nothing but that it is there.
    if !HEALTH.contains(&request.uri().path()) {
        [stated, targeted].into_iter().flatten().try_for_each(|authority| is_here(service, authority))?;
    }
    stated::check_head(request.headers())
}

fn is_here<S: KvService>(service: &S, authority: &str) -> Result<(), Problem> {
    let host = host_of(authority).to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let is_address = host.parse::<Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok();
    if host.is_empty() || is_address || is_loopback_name(host) || service.is_called(host) {
        return Ok(());
    }
    let detail = format!(
        "this node is not called {host:?}: use its IP address, or add the name to listen.http_hosts of its configuration"
    );
    Err(Problem::refused(StatusCode::MISDIRECTED_REQUEST, detail).closing())
}

/// Browsers and resolvers take these for loopback, whatever a name server says.
fn is_loopback_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_of(authority: &str) -> &str {
    if let Some((host, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return host;
    }
    authority.rsplit_once(':').map_or(authority, |(host, _)| host)
}

const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fake;

    #[test]
    fn a_host_is_an_address_loopback_or_a_name_of_this_node() {
        let service = Fake::new();
        let here = ["127.0.0.1", "10.1.2.3:7101", "[::1]:7101", "[::1]", "LOCALHOST:80", "x.localhost", ""];
        for host in here.into_iter().chain(["N1.example:7101", "n1.example."]) {
            assert!(is_here(&*service, host).is_ok(), "{host}");
        }
        let elsewhere =
            ["evil.example", "evil.example:7101", "127.0.0.1.evil.example", "localhost.evil.example"];
        for host in elsewhere.into_iter().chain(["?", "n1.example.evil", "0x7f000001"]) {
            assert!(is_here(&*service, host).is_err(), "{host}");
        }
    }
}
