//! Who is at the other end of a connection, seen through the proxies that the operator trusts.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

/// Where each proxy adds, on the right, who asked it.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// The network of one customer, in IPv6: its addresses are as many as somebody likes.
const CUSTOMER: u128 = !0 << 64;

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// At the other end of the connection.
    pub direct: IpAddr,
    /// Before all proxies that are trusted.
    origin: IpAddr,
}

impl Peer {
    pub(super) fn of(extensions: &Extensions) -> Self {
        *extensions.get().expect("every request came over a connection")
    }

    /// By which those who ask are told apart: an address, or a network where addresses cost nothing.
    pub(super) fn network(self) -> IpAddr {
        match self.origin {
            address @ IpAddr::V4(_) => address,
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & CUSTOMER).into(),
        }
    }
}

/// Networks of proxies whose word is taken.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    #[must_use]
    pub fn new(trusted: Vec<IpNet>) -> Self {
        Self(trusted)
    }

    /// From the right, as far as somebody who is trusted said it: what stands further left anybody can have written.
    pub(super) fn peer(&self, direct: IpAddr, headers: &HeaderMap) -> Peer {
        let direct = direct.to_canonical();
        let mut origin = direct;
        let mut told = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .rev()
            .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
            .filter(|told| !told.trim_ascii().is_empty());
        while self.trust(origin)
            && let Some(address) = told.next().and_then(address)
        {
            origin = address;
        }
        Peer { direct, origin }
    }

    fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// `192.0.2.1`, `2001:db8::1` or `[2001:db8::1]`, and with a port.
fn address(told: &[u8]) -> Option<IpAddr> {
    let told = std::str::from_utf8(told).ok()?.trim();
    let bare = told.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(told);
    let parsed = bare.parse::<IpAddr>().or_else(|_| told.parse::<SocketAddr>().map(|address| address.ip()));
    parsed.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(trusted: &[&str], direct: &str, lines: &[&str]) -> String {
        let proxies = Proxies::new(trusted.iter().map(|network| network.parse().expect("a network")).collect());
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().expect("a header"));
        }
        proxies.peer(direct.parse().expect("an address"), &headers).origin.to_string()
    }

    #[test]
    fn a_proxy_is_believed_where_it_is_trusted() {
        assert_eq!(origin(&[], "10.0.0.1", &["192.0.2.7"]), "10.0.0.1");
        assert_eq!(origin(&["10.0.0.0/24"], "10.0.0.1", &["192.0.2.7"]), "192.0.2.7");
        assert_eq!(origin(&["10.0.0.0/24"], "10.0.1.1", &["192.0.2.7"]), "10.0.1.1");
        assert_eq!(origin(&["10.0.0.0/24"], "::ffff:10.0.0.1", &["::ffff:192.0.2.7"]), "192.0.2.7");
        assert_eq!(origin(&["::/0"], "::1", &[]), "::1");
    }

    #[test]
    fn what_was_written_before_the_first_proxy_is_not_believed() {
        let trusted = ["10.0.0.0/24", "2001:db8::/32"];
        assert_eq!(origin(&trusted, "10.0.0.1", &["203.0.113.1, 192.0.2.7"]), "192.0.2.7");
        assert_eq!(origin(&trusted, "10.0.0.1", &["203.0.113.1", "192.0.2.7,  2001:db8::5"]), "192.0.2.7");
        assert_eq!(origin(&trusted, "10.0.0.1", &["192.0.2.7, 10.0.0.9", "10.0.0.2"]), "192.0.2.7");
        assert_eq!(origin(&trusted, "10.0.0.1", &["192.0.2.7, unknown"]), "10.0.0.1", "nobody knows");
        assert_eq!(origin(&trusted, "10.0.0.1", &[""]), "10.0.0.1");
        assert_eq!(origin(&trusted, "10.0.0.1", &["203.0.113.1, 192.0.2.7, ", ""]), "192.0.2.7", "nothing is nobody");
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (told, read) in
            [("192.0.2.7:4711", "192.0.2.7"), ("[2001:db8::7]:4711", "2001:db8::7"), ("[2001:db8::7]", "2001:db8::7"), ("2001:db8::7", "2001:db8::7")]
        {
            assert_eq!(origin(&["10.0.0.1/32"], "10.0.0.1", &[told]), read);
        }
    }

    #[test]
    fn one_customers_addresses_are_one() {
        let network = |address: &str| Proxies::default().peer(address.parse().expect("an address"), &HeaderMap::new()).network();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("192.0.2.7"), network("192.0.2.8"));
    }
}
