//! Who is connected, and how much of the server one address may take: a share of the connections, a rate of requests.
//!
//! An address is an IPv4 address or the /64 of an IPv6 one, because one customer usually has all of a /64. Proxies that the
//! operator names have no share, and tell whom they speak for in `X-Forwarded-For`; from anybody else that header is
//! passed over, since everybody can write it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::HeaderMap;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

/// Addresses whose rate is remembered. An address is forgotten once it could send its full burst again.
const MAX_RATED: usize = 65_536;
/// Proxies named in one request; a longer chain is nobody's.
const MAX_HOPS: usize = 16;

/// Addresses in CIDR notation, `10.0.0.0/8`; a bare address stands for itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether `address` is in one of them. An IPv4 address mapped into IPv6 is the IPv4 address.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let networks = texts.iter().map(|text| network(text));
        networks
            .collect::<Result<_, _>>()
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let bare = text.parse::<IpAddr>().map(IpNet::from);
    bare.or_else(|_| text.parse()).map_err(|_| {
        format!(
            "`{text}` is not a network; write e.g. \"10.0.0.0/8\", \"fd00::/8\" or \"192.0.2.7\""
        )
    })
}

/// What counts as one address.
fn grouped(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// For whom a request is: the peer, or whom a trusted proxy names as the nearest client that is not a proxy itself.
pub(super) fn client_of(peer: IpAddr, headers: &HeaderMap, proxies: &Networks) -> IpAddr {
    let mut client = peer.to_canonical();
    let named = headers.get_all("x-forwarded-for").iter().rev();
    let named = named.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    for hop in named.take(MAX_HOPS) {
        if !proxies.contain(client) {
            break;
        }
        // Who stands behind an entry that cannot be read is unknown; the proxy that wrote it answers for it.
        let Ok(address) = hop.trim().parse::<IpAddr>() else {
            break;
        };
        client = address.to_canonical();
    }
    client
}

/// Open connections by address.
#[derive(Debug)]
pub(super) struct Shares {
    most: usize,
    open: Mutex<HashMap<IpAddr, Arc<AtomicUsize>>>,
}

/// One connection's part of its address's share; given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    address: IpAddr,
    count: Arc<AtomicUsize>,
}

impl Shares {
    pub(super) fn new(most: usize) -> Arc<Self> {
        let open = Mutex::default();
        Arc::new(Self { most, open })
    }

    /// A connection for `address`, unless it has as many as it may.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Share> {
        let address = grouped(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if count.load(Ordering::Relaxed) >= self.most {
            return None;
        }
        count.fetch_add(1, Ordering::Relaxed);
        let count = count.clone();
        Some(Share {
            shares: self.clone(),
            address,
            count,
        })
    }
}

impl Share {
    /// Whether three quarters of the address's share are taken.
    pub(super) fn crowded(&self) -> bool {
        self.count.load(Ordering::Relaxed) > self.shares.most / 4 * 3
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let open = self.shares.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        if self.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            open.remove(&self.address);
        }
    }
}

/// Requests by address, limited by the generic cell rate algorithm: one number an address, the time at which it will have
/// paid for all it has asked.
///
/// Written here because it is these lines: crates for it bring sharded maps and clocks of their own, and none bounds
/// how many addresses it remembers.
#[derive(Debug)]
pub(super) struct Rates {
    /// What one request costs.
    cost: Duration,
    /// How far ahead of its payments an address may be.
    credit: Duration,
    paid_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Rates {
    /// `per_second` requests in the long run, `burst` at once; `None` when `per_second` is zero.
    pub(super) fn new(per_second: u32, burst: u32) -> Option<Self> {
        let cost = Duration::from_secs(1).checked_div(per_second)?;
        let credit = cost.saturating_mul(if burst == 0 { per_second } else { burst });
        let paid_at = Mutex::default();
        Some(Self {
            cost,
            credit,
            paid_at,
        })
    }

    /// Takes one request of `address` at `now`.
    ///
    /// # Errors
    /// How long to wait until one would be taken.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let address = grouped(address);
        let mut paid_at = self.paid_at.lock().unwrap_or_else(PoisonError::into_inner);
        let before = paid_at.get(&address).copied();
        let after = before.map_or(now, |paid| paid.max(now)) + self.cost;
        let wait = after.saturating_duration_since(now + self.credit);
        if !wait.is_zero() {
            return Err(wait);
        }
        if before.is_none() && paid_at.len() >= MAX_RATED {
            paid_at.retain(|_, paid| *paid > now);
            // More busy addresses than can be remembered: limiting by address helps no more, the other limits hold.
            if paid_at.len() >= MAX_RATED {
                return Ok(());
            }
        }
        paid_at.insert(address, after);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn networks(texts: &[&str]) -> Networks {
        Networks(texts.iter().map(|text| network(text).unwrap()).collect())
    }

    fn forwarded(values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn networks_are_read_and_anything_else_is_refused_with_an_example() {
        let some = networks(&["10.0.0.0/8", "192.0.2.7", "fd00::/8"]);
        for inside in ["10.255.0.1", "::ffff:10.1.2.3", "192.0.2.7", "fd12::1"] {
            assert!(some.contain(ip(inside)), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "fe80::1"] {
            assert!(!some.contain(ip(outside)), "{outside}");
        }
        for bad in ["", "10.0.0.0/33", "localhost", "10.0.0"] {
            assert!(network(bad).unwrap_err().contains("10.0.0.0/8"), "{bad}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_whom_it_speaks_for() {
        let proxies = networks(&["10.0.0.0/8"]);
        for (peer, values, client) in [
            ("192.0.2.1", &["198.51.100.9"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.9"], "198.51.100.9"),
            // What the client wrote itself stands to the left of what the proxy added.
            ("10.0.0.1", &["203.0.113.5, 198.51.100.9"], "198.51.100.9"),
            ("10.0.0.1", &["203.0.113.5", "198.51.100.9"], "198.51.100.9"),
            ("10.0.0.1", &["198.51.100.9, 10.0.0.2"], "198.51.100.9"),
            ("10.0.0.1", &["198.51.100.9, unknown"], "10.0.0.1"),
            ("::ffff:10.0.0.1", &["2001:db8::1"], "2001:db8::1"),
        ] {
            let found = client_of(ip(peer), &forwarded(values), &proxies);
            assert_eq!(found, ip(client), "{peer} {values:?}");
        }
    }

    #[test]
    fn an_address_has_its_share_and_no_more() {
        let shares = Shares::new(2);
        let first = shares.take(ip("192.0.2.1")).unwrap();
        let second = shares.take(ip("::ffff:192.0.2.1")).unwrap();
        assert!(second.crowded());
        assert!(shares.take(ip("192.0.2.1")).is_none());
        let other = shares.take(ip("192.0.2.2")).unwrap();
        drop(first);
        let again = shares.take(ip("192.0.2.1")).unwrap();
        drop((second, again, other));
        assert!(
            shares.open.lock().unwrap().is_empty(),
            "nobody is remembered"
        );
    }

    #[test]
    fn a_prefix_of_ipv6_is_one_address() {
        let shares = Shares::new(1);
        let _one = shares.take(ip("2001:db8::1")).unwrap();
        assert!(shares.take(ip("2001:db8::ffff:2")).is_none());
        assert!(shares.take(ip("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn a_burst_is_taken_and_then_the_rate() {
        let (rates, now) = (Rates::new(2, 3).unwrap(), Instant::now());
        let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        for _ in 0..3 {
            assert_eq!(rates.take(one, now), Ok(()));
        }
        assert_eq!(rates.take(one, now), Err(Duration::from_millis(500)));
        assert_eq!(rates.take(other, now), Ok(()));
        let later = now + Duration::from_millis(500);
        assert_eq!(rates.take(one, later), Ok(()));
        assert_eq!(rates.take(one, later), Err(Duration::from_millis(500)));
        assert!(Rates::new(0, 3).is_none());
    }

    #[test]
    fn the_addresses_remembered_are_bounded() {
        let (rates, now) = (Rates::new(1, 1).unwrap(), Instant::now());
        for n in 0..=u32::try_from(MAX_RATED).unwrap() {
            assert_eq!(rates.take(IpAddr::from(n.to_be_bytes()), now), Ok(()));
        }
        assert_eq!(rates.paid_at.lock().unwrap().len(), MAX_RATED);
        let later = now + Duration::from_secs(2);
        assert_eq!(rates.take(ip("255.0.0.1"), later), Ok(()));
        assert_eq!(rates.paid_at.lock().unwrap().len(), 1);
    }
}
