//! Serial numbers of certificates and of timestamps.

use std::fmt;

/// A positive serial number of exactly 20 octets, the most that RFC 5280 section 4.1.2.2 permits for certificates and
/// that readers of timestamps must be able to take (RFC 3161 section 2.4.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SerialNumber([u8; 20]);

impl SerialNumber {
    /// From 20 random octets, of which 158 bits are kept: the top bit is cleared, so that the number is positive, and
    /// the next one set, so that it never gets shorter.
    pub fn from_random(mut octets: [u8; 20]) -> Self {
        octets[0] = octets[0] & 0x7f | 0x40;
        Self(octets)
    }

    /// Content octets of the INTEGER.
    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SerialNumber({self})")
    }
}
