//! As much DER as a key needs: a strict reader of definite lengths and a writer.
//!
//! The whole of ASN.1 is `sealwright-pki`'s, which stands above this crate and has faults of its own to tell; keys and
//! signatures need a fraction of it and one fault, so the two do not share their reader.

use crate::KeyError;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

/// Reads values one after another; every method fails without having moved when the next value is another.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    expected: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8], expected: &'static str) -> Self {
        Self {
            rest: input,
            expected,
        }
    }

    pub(crate) fn value(&mut self, tag: u8) -> Result<&'a [u8], KeyError> {
        let (found, content, rest) = split(self.rest).ok_or(self.error())?;
        if found != tag {
            return Err(self.error());
        }
        self.rest = rest;
        Ok(content)
    }

    pub(crate) fn nested(&mut self, tag: u8) -> Result<Self, KeyError> {
        Ok(Self {
            rest: self.value(tag)?,
            expected: self.expected,
        })
    }

    /// An INTEGER that is not negative, without its leading zero.
    pub(crate) fn unsigned(&mut self) -> Result<&'a [u8], KeyError> {
        let content = self.value(INTEGER)?;
        match content {
            [] => Err(self.error()),
            [0, high, ..] if *high < 0x80 => Err(self.error()),
            [high, ..] if *high >= 0x80 => Err(self.error()),
            [0, tail @ ..] if !tail.is_empty() => Ok(tail),
            all => Ok(all),
        }
    }

    /// Content of a BIT STRING of whole bytes.
    pub(crate) fn bits(&mut self) -> Result<&'a [u8], KeyError> {
        match self.value(BIT_STRING)? {
            [0, bits @ ..] => Ok(bits),
            _ => Err(self.error()),
        }
    }

    pub(crate) fn finish(self) -> Result<(), KeyError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.error())
        }
    }

    fn error(&self) -> KeyError {
        KeyError::Malformed {
            expected: self.expected,
        }
    }
}

/// Tag, content and the rest; `None` unless the length is definite, minimal and within the input.
fn split(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes
                .iter()
                .fold(0usize, |length, &byte| length << 8 | usize::from(byte));
            let minimal = length >= 0x80 && bytes.first() != Some(&0);
            minimal.then_some((length, rest))?
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// One value: tag, length, concatenated contents.
pub(crate) fn write(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    write_length(&mut out, length);
    for part in contents {
        out.extend_from_slice(part);
    }
    out
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    let bytes = length.to_be_bytes();
    let significant = &bytes[bytes.iter().take_while(|&&byte| byte == 0).count()..];
    match length {
        0..=0x7f => out.push(length as u8),
        _ => {
            out.push(0x80 | significant.len() as u8);
            out.extend_from_slice(significant);
        }
    }
}

/// An INTEGER from unsigned big-endian bytes.
pub(crate) fn write_unsigned(value: &[u8]) -> Vec<u8> {
    let zeros = value.iter().take_while(|&&byte| byte == 0).count();
    match value.get(zeros..).unwrap_or_default() {
        [] => write(INTEGER, &[&[0]]),
        significant @ [high, ..] if *high >= 0x80 => write(INTEGER, &[&[0], significant]),
        significant => write(INTEGER, &[significant]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_round_trip_and_must_be_minimal() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let encoded = write(OCTET_STRING, &[&vec![7; length]]);
            let mut reader = Reader::new(&encoded, "test");
            assert_eq!(reader.value(OCTET_STRING).unwrap().len(), length);
            reader.finish().unwrap();
        }
        for bad in [
            &[4, 0x81, 1, 7][..],
            &[4, 0x80, 0, 0],
            &[4, 2, 7],
            &[4],
            &[4, 0x82, 0, 200],
        ] {
            assert!(Reader::new(bad, "test").value(OCTET_STRING).is_err());
        }
    }

    #[test]
    fn integers_are_unsigned_and_minimal() {
        for (value, encoded) in [
            (&[0u8][..], &[2u8, 1, 0][..]),
            (&[0, 0x80], &[2, 2, 0, 0x80]),
            (&[0, 5], &[2, 1, 5]),
        ] {
            assert_eq!(write_unsigned(value), encoded);
        }
        assert!(Reader::new(&[2, 1, 0x80], "test").unsigned().is_err());
        assert!(Reader::new(&[2, 2, 0, 5], "test").unsigned().is_err());
    }
}
