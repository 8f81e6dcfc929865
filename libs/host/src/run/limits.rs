//! How much of the server an outsider may use.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{duration, size};

/// `[host.limits]`. The defaults serve thousands of clients within tens of megabytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Open connections; fewer where the process may not open as many files.
    pub max_connections: usize,
    /// Open connections of one address (an IPv4 address, the /64 of an IPv6 one). More are closed at once. Proxies named in
    /// `trusted_proxies` may take all.
    pub max_connections_per_address: usize,
    /// Requests a second of one address, in the long run; 0 sets no limit. Health is always told.
    pub requests_per_second: u32,
    /// Requests of one address that are taken at once when it has been quiet; as many as `requests_per_second` when 0.
    pub request_burst: u32,
    /// Requests being handled at once.
    pub max_in_flight: usize,
    /// Bytes of one request body. Services set narrower limits for what they read.
    #[serde(with = "size")]
    pub max_body: u64,
    /// Bytes of request bodies in memory at once, the first 16 KiB of each not counted.
    #[serde(with = "size")]
    pub max_buffered: u64,
    /// Bytes of one request head, 8 KiB at least.
    #[serde(with = "size")]
    pub max_header_bytes: u64,
    /// Time to complete a TLS handshake, and to send a request head.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// Time to send a request body.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// Time to answer, from the complete request to the answer's head.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// Time a reader may stall.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// Time a connection may rest without a request. Over HTTP/1.1 `header_timeout` ends it earlier where that is shorter,
    /// since the parser counts the wait for the next head as time to send it.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 16_384,
            max_connections_per_address: 4096,
            requests_per_second: 0,
            request_burst: 0,
            max_in_flight: 4096,
            max_body: 4 << 20,
            max_buffered: 64 << 20,
            max_header_bytes: 64 << 10,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(20),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(90),
        }
    }
}

impl Limits {
    /// The name of a limit that is zero, as the error.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let named = [
            ("max_connections", self.max_connections as u64),
            (
                "max_connections_per_address",
                self.max_connections_per_address as u64,
            ),
            ("max_in_flight", self.max_in_flight as u64),
            ("max_body", self.max_body),
            ("max_header_bytes", self.max_header_bytes),
            ("header_timeout", self.header_timeout.as_millis() as u64),
            ("body_timeout", self.body_timeout.as_millis() as u64),
            ("request_timeout", self.request_timeout.as_millis() as u64),
            ("write_timeout", self.write_timeout.as_millis() as u64),
            ("idle_timeout", self.idle_timeout.as_millis() as u64),
        ];
        named
            .iter()
            .find(|(_, value)| *value == 0)
            .map_or(Ok(()), |(name, _)| Err(*name))
    }
}
