//! The TLS presentation language (RFC 8446 section 3) as far as logs use it: big-endian integers and length prefixes.

use crate::error::Error;

/// Reads from the front of outside bytes; every method fails rather than reads past the end.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, what }
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(self.malformed("it ends too early"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A big-endian integer of `N` bytes, at most 8.
    pub(crate) fn uint<const N: usize>(&mut self) -> Result<u64, Error> {
        let bytes = self.array::<N>()?;
        Ok(bytes
            .iter()
            .fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// A byte string whose length comes first, in `N` bytes.
    pub(crate) fn prefixed<const N: usize>(&mut self) -> Result<&'a [u8], Error> {
        let length = self.uint::<N>()?;
        let length = usize::try_from(length)
            .map_err(|_| self.malformed("a length does not fit in memory"))?;
        self.take(length)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn finish(&self) -> Result<(), Error> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.malformed("bytes follow its end"))
        }
    }

    pub(crate) fn malformed(&self, problem: &'static str) -> Error {
        Error::Malformed {
            what: self.what,
            problem,
        }
    }
}

/// Appends the `N` low bytes of `value`, big-endian.
pub(crate) fn put_uint<const N: usize>(out: &mut Vec<u8>, value: u64) {
    let bytes = value.to_be_bytes();
    out.extend_from_slice(&bytes[bytes.len() - N..]);
}

/// Appends a byte string with its length in front, in `N` bytes.
pub(crate) fn put_prefixed<const N: usize>(
    out: &mut Vec<u8>,
    what: &'static str,
    bytes: &[u8],
) -> Result<(), Error> {
    let limit = (1usize << (8 * N)) - 1;
    if bytes.len() > limit {
        return Err(Error::TooLong {
            what,
            actual: bytes.len(),
            limit,
        });
    }
    put_uint::<N>(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
    Ok(())
}
