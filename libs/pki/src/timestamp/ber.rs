//! A reader for what clients really send in place of DER.
//!
//! Timestamp requests arrive with an explicit `certReq FALSE`, long-form lengths, padded integers. This reader takes
//! those and hands out the value in its DER form; everything else of this crate reads by the strict one in
//! [`crate::asn1`]. Both cut elements by the same function, so indefinite lengths and tags above thirty are refused here
//! too: no client of the protocol needs them, and both make one parser differ from the next.

use crate::asn1::{self, Element, tag};
use crate::error::DerFault;

/// Reads elements one after the other from borrowed bytes; never allocates.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// A reader over the content of the one SEQUENCE that `bytes` must be.
    pub(super) fn only_sequence(bytes: &'a [u8]) -> Result<Self, DerFault> {
        let mut outer = Self::new(bytes);
        let inner = outer.sequence()?;
        outer.finish()?;
        Ok(inner)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn finish(&self) -> Result<(), DerFault> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DerFault::TrailingBytes)
        }
    }

    fn element(&mut self) -> Result<Element<'a>, DerFault> {
        let cut = asn1::cut(self.rest)?;
        self.rest = cut.rest;
        Ok(cut.element)
    }

    /// The content of the next element, which must have this tag.
    pub(super) fn value(&mut self, tag: u8) -> Result<&'a [u8], DerFault> {
        match self.rest.first().copied() {
            Some(found) if found == tag => self.element().map(|element| element.value),
            found => Err(DerFault::UnexpectedTag {
                expected: tag,
                found,
            }),
        }
    }

    /// The content of the next element if it has this tag; otherwise nothing is consumed.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<&'a [u8]>, DerFault> {
        if self.rest.first() == Some(&tag) {
            self.value(tag).map(Some)
        } else {
            Ok(None)
        }
    }

    pub(super) fn sequence(&mut self) -> Result<Self, DerFault> {
        self.value(tag::SEQUENCE).map(Self::new)
    }

    /// A `BOOLEAN DEFAULT FALSE`: absent, spelled out, and any non-zero octet for true.
    pub(super) fn boolean_default_false(&mut self) -> Result<bool, DerFault> {
        match self.optional(tag::BOOLEAN)? {
            None => Ok(false),
            Some([octet]) => Ok(*octet != 0),
            Some(_) => Err(DerFault::Boolean),
        }
    }

    /// The content of an INTEGER in the fewest octets.
    pub(super) fn integer(&mut self) -> Result<&'a [u8], DerFault> {
        asn1::fewest_octets(self.value(tag::INTEGER)?)
    }

    /// As [`Self::integer`], when one comes next.
    pub(super) fn optional_integer(&mut self) -> Result<Option<&'a [u8]>, DerFault> {
        self.optional(tag::INTEGER)?
            .map(asn1::fewest_octets)
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_handed_out_in_the_fewest_octets() {
        for (encoded, expected) in [
            (&[2, 3, 0, 0, 5][..], &[5][..]),
            (&[2, 3, 0, 0, 0x85], &[0, 0x85]),
            (&[2, 3, 0xff, 0xff, 0x85], &[0x85]),
            (&[2, 0x81, 1, 0], &[0]),
        ] {
            assert_eq!(Reader::new(encoded).integer(), Ok(expected));
        }
        assert_eq!(Reader::new(&[2, 0]).integer(), Err(DerFault::Integer));
    }

    #[test]
    fn a_default_may_be_spelled_out() {
        for (encoded, expected) in [
            (&[][..], false),
            (&[1, 1, 0], false),
            (&[1, 1, 1], true),
            (&[1, 1, 0xff], true),
        ] {
            assert_eq!(Reader::new(encoded).boolean_default_false(), Ok(expected));
        }
        assert_eq!(
            Reader::new(&[1, 2, 0, 0]).boolean_default_false(),
            Err(DerFault::Boolean)
        );
    }

    #[test]
    fn indefinite_lengths_and_long_tags_are_refused() {
        assert_eq!(
            Reader::new(&[0x30, 0x80, 0, 0]).value(tag::SEQUENCE),
            Err(DerFault::Length)
        );
        assert_eq!(
            Reader::new(&[0x1f, 0x01, 0]).value(0x1f),
            Err(DerFault::HighTagNumber)
        );
        let huge = [0x30, 0x84, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            Reader::new(&huge).value(tag::SEQUENCE),
            Err(DerFault::Truncated)
        );
    }
}
