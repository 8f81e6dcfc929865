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
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(self.malformed("it ends too early"))?;
        self.rest = rest;
        Ok(*head)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_says_as_much_as_its_bytes_can() {
        let longest = vec![7; 255];
        let mut out = Vec::new();
        put_prefixed::<1>(&mut out, "name", &longest).unwrap();
        assert_eq!(out, [&[255], longest.as_slice()].concat());
        let mut reader = Reader::new("list", &out);
        assert_eq!(reader.prefixed::<1>(), Ok(longest.as_slice()));
        assert_eq!(reader.finish(), Ok(()));

        let refused = put_prefixed::<1>(&mut out, "name", &[7; 256]);
        let expected = Error::TooLong {
            what: "name",
            actual: 256,
            limit: 255,
        };
        assert_eq!(refused, Err(expected));
        assert_eq!(out.len(), 256, "nothing of it was written");
        let mut out = Vec::new();
        put_prefixed::<2>(&mut out, "name", &[7; 65_535]).unwrap();
        assert_eq!(out.get(..3), Some([255, 255, 7].as_slice()));
        assert!(put_prefixed::<2>(&mut out, "name", &[7; 65_536]).is_err());
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut reader = Reader::new("list", &[1, 2, 3]);
        assert_eq!(reader.uint::<2>(), Ok(0x0102));
        let short = Error::Malformed {
            what: "list",
            problem: "it ends too early",
        };
        assert_eq!(reader.uint::<2>(), Err(short.clone()));
        assert_eq!(reader.take(2), Err(short.clone()));
        assert_eq!(reader.prefixed::<1>(), Err(short));
        assert!(reader.is_empty(), "the length was read, the bytes were not");
    }
}
