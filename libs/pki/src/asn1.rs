//! Strict DER: a reader that never allocates and never panics, and a small writer.
//!
//! X.690 leaves one encoding for each value, and a signature is over bytes, so everything that is not that one
//! encoding is refused: indefinite and padded lengths, padded integers, booleans other than 00 and FF, bit strings
//! whose unused bits are set. Tags above 30 do not occur in any structure of this crate and are refused too.

use std::borrow::Cow;

use crate::error::DerFault;
use const_oid::ObjectIdentifier;

/// Identifier octets of the types in use (X.690 section 8.1.2).
pub mod tag {
    /// BOOLEAN
    pub const BOOLEAN: u8 = 0x01;
    /// INTEGER
    pub const INTEGER: u8 = 0x02;
    /// BIT STRING
    pub const BIT_STRING: u8 = 0x03;
    /// OCTET STRING
    pub const OCTET_STRING: u8 = 0x04;
    /// NULL
    pub const NULL: u8 = 0x05;
    /// OBJECT IDENTIFIER
    pub const OBJECT_IDENTIFIER: u8 = 0x06;
    /// ENUMERATED
    pub const ENUMERATED: u8 = 0x0a;
    /// UTF8String
    pub const UTF8_STRING: u8 = 0x0c;
    /// PrintableString
    pub const PRINTABLE_STRING: u8 = 0x13;
    /// TeletexString, read as Latin-1 for display only
    pub const TELETEX_STRING: u8 = 0x14;
    /// IA5String
    pub const IA5_STRING: u8 = 0x16;
    /// UTCTime
    pub const UTC_TIME: u8 = 0x17;
    /// GeneralizedTime
    pub const GENERALIZED_TIME: u8 = 0x18;
    /// BMPString, read for display only
    pub const BMP_STRING: u8 = 0x1e;
    /// SEQUENCE and SEQUENCE OF
    pub const SEQUENCE: u8 = 0x30;
    /// SET and SET OF
    pub const SET: u8 = 0x31;

    /// Context-specific primitive tag `[number]`, for IMPLICIT primitive types.
    pub const fn context(number: u8) -> u8 {
        0x80 | number
    }

    /// Context-specific constructed tag `[number]`, for EXPLICIT and for IMPLICIT constructed types.
    pub const fn context_constructed(number: u8) -> u8 {
        0xa0 | number
    }
}

/// One tag-length-value: the identifier octet, the content, and both together as they stood in the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'a> {
    /// Identifier octet, one of [`tag`].
    pub tag: u8,
    /// Content octets.
    pub value: &'a [u8],
    /// Identifier, length and content octets.
    pub whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// A reader over the content.
    pub fn reader(&self) -> Reader<'a> {
        Reader::new(self.value)
    }
}

/// Reads elements one after the other from borrowed bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether everything has been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The identifier octet that comes next.
    pub fn peek_tag(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Refuses bytes after the last expected element.
    pub fn finish(self) -> Result<(), DerFault> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DerFault::TrailingBytes)
        }
    }

    /// Reads the next element, whatever its tag.
    pub fn element(&mut self) -> Result<Element<'a>, DerFault> {
        let cut = cut(self.rest)?;
        if !cut.shortest_length {
            return Err(DerFault::Length);
        }
        self.rest = cut.rest;
        Ok(cut.element)
    }

    /// Reads the next element, which must have this tag.
    pub fn expect(&mut self, tag: u8) -> Result<Element<'a>, DerFault> {
        match self.peek_tag() {
            Some(found) if found == tag => self.element(),
            found => Err(DerFault::UnexpectedTag {
                expected: tag,
                found,
            }),
        }
    }

    /// Reads the next element if it has this tag.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Element<'a>>, DerFault> {
        if self.peek_tag() == Some(tag) {
            self.element().map(Some)
        } else {
            Ok(None)
        }
    }

    /// Reads an element with this tag and returns its content.
    pub fn value(&mut self, tag: u8) -> Result<&'a [u8], DerFault> {
        self.expect(tag).map(|element| element.value)
    }

    /// Enters a SEQUENCE.
    pub fn sequence(&mut self) -> Result<Reader<'a>, DerFault> {
        self.expect(tag::SEQUENCE).map(|element| element.reader())
    }

    /// Enters a SET.
    pub fn set(&mut self) -> Result<Reader<'a>, DerFault> {
        self.expect(tag::SET).map(|element| element.reader())
    }

    /// Reads an OBJECT IDENTIFIER.
    pub fn oid(&mut self) -> Result<ObjectIdentifier, DerFault> {
        parse_oid(self.value(tag::OBJECT_IDENTIFIER)?)
    }

    /// Reads an INTEGER and returns its content: big-endian two's complement in the fewest octets.
    pub fn integer(&mut self) -> Result<&'a [u8], DerFault> {
        let value = self.value(tag::INTEGER)?;
        check_integer(value)?;
        Ok(value)
    }

    /// Reads an INTEGER that is not negative; the magnitude has no leading zero octet (zero is one `00`).
    pub fn unsigned_integer(&mut self) -> Result<&'a [u8], DerFault> {
        parse_unsigned_integer(self.value(tag::INTEGER)?)
    }

    /// Reads an INTEGER between 0 and 2^64-1.
    pub fn small_integer(&mut self) -> Result<u64, DerFault> {
        parse_small_integer(self.value(tag::INTEGER)?)
    }

    /// Reads a BOOLEAN.
    pub fn boolean(&mut self) -> Result<bool, DerFault> {
        match self.value(tag::BOOLEAN)? {
            [0x00] => Ok(false),
            [0xff] => Ok(true),
            _ => Err(DerFault::Boolean),
        }
    }

    /// Reads a BOOLEAN DEFAULT FALSE: DER never writes the default.
    pub fn boolean_default_false(&mut self) -> Result<bool, DerFault> {
        if self.peek_tag() != Some(tag::BOOLEAN) {
            return Ok(false);
        }
        if self.boolean()? {
            Ok(true)
        } else {
            Err(DerFault::Boolean)
        }
    }

    /// Reads an OCTET STRING.
    pub fn octet_string(&mut self) -> Result<&'a [u8], DerFault> {
        self.value(tag::OCTET_STRING)
    }

    /// Reads a BIT STRING: the octets, and how many low bits of the last one are unused (and zero).
    pub fn bit_string(&mut self) -> Result<(&'a [u8], u8), DerFault> {
        parse_bit_string(self.value(tag::BIT_STRING)?)
    }

    /// Reads a BIT STRING that holds whole octets, as keys and signatures do.
    pub fn bit_string_octets(&mut self) -> Result<&'a [u8], DerFault> {
        match self.bit_string()? {
            (octets, 0) => Ok(octets),
            _ => Err(DerFault::BitString),
        }
    }

    /// Reads a NULL.
    pub fn null(&mut self) -> Result<(), DerFault> {
        if self.value(tag::NULL)?.is_empty() {
            Ok(())
        } else {
            Err(DerFault::Length)
        }
    }

    /// Reads a UTCTime or GeneralizedTime of whole seconds, as certificates have (RFC 5280 section 4.1.2.5).
    /// Answers Unix seconds.
    pub fn time(&mut self) -> Result<i64, DerFault> {
        let element = self.element()?;
        match element.tag {
            tag::UTC_TIME => parse_utc_time(element.value),
            tag::GENERALIZED_TIME => parse_generalized_time(element.value),
            found => Err(DerFault::UnexpectedTag {
                expected: tag::UTC_TIME,
                found: Some(found),
            }),
        }
    }
}

/// Reads exactly one element with this tag; nothing may follow it.
pub fn only(bytes: &[u8], tag: u8) -> Result<Element<'_>, DerFault> {
    let mut reader = Reader::new(bytes);
    let element = reader.expect(tag)?;
    reader.finish()?;
    Ok(element)
}

/// The first element of some bytes, and what follows it.
pub(crate) struct Cut<'a> {
    pub(crate) element: Element<'a>,
    pub(crate) rest: &'a [u8],
    /// Whether the length has the one form of DER. The strict reader asks; the one for timestamp requests does not.
    pub(crate) shortest_length: bool,
}

/// Cuts off the first element. Indefinite lengths and tags above 30 are refused.
pub(crate) fn cut(bytes: &[u8]) -> Result<Cut<'_>, DerFault> {
    let (&tag, after_tag) = bytes.split_first().ok_or(DerFault::Truncated)?;
    if tag & 0x1f == 0x1f {
        return Err(DerFault::HighTagNumber);
    }
    let length = read_length(after_tag)?;
    let header = 1 + length.octets;
    let total = header
        .checked_add(length.value)
        .ok_or(DerFault::Truncated)?;
    let (whole, rest) = bytes.split_at_checked(total).ok_or(DerFault::Truncated)?;
    let (_, value) = whole.split_at_checked(header).ok_or(DerFault::Truncated)?;
    Ok(Cut {
        element: Element { tag, value, whole },
        rest,
        shortest_length: length.shortest,
    })
}

struct Length {
    value: usize,
    /// How many octets the length itself took.
    octets: usize,
    shortest: bool,
}

fn read_length(bytes: &[u8]) -> Result<Length, DerFault> {
    let (&first, rest) = bytes.split_first().ok_or(DerFault::Truncated)?;
    if first < 0x80 {
        return Ok(Length {
            value: usize::from(first),
            octets: 1,
            shortest: true,
        });
    }
    let count = usize::from(first & 0x7f);
    // 80 is the indefinite form; five and more octets would be a value of over 4 GiB.
    if count == 0 || count > 4 {
        return Err(DerFault::Length);
    }
    let octets = rest.get(..count).ok_or(DerFault::Truncated)?;
    let value = octets
        .iter()
        .fold(0_usize, |sum, octet| (sum << 8) | usize::from(*octet));
    Ok(Length {
        value,
        octets: 1 + count,
        shortest: value >= 0x80 && octets.first() != Some(&0),
    })
}

/// The content octets of an INTEGER without the padding in front of them: two's complement in the fewest octets.
///
/// # Errors
/// [`DerFault::Integer`] when there are none.
pub fn fewest_octets(mut content: &[u8]) -> Result<&[u8], DerFault> {
    while let [first, rest @ ..] = content
        && let Some(next) = rest.first()
        && ((*first == 0 && next & 0x80 == 0) || (*first == 0xff && next & 0x80 != 0))
    {
        content = rest;
    }
    if content.is_empty() {
        Err(DerFault::Integer)
    } else {
        Ok(content)
    }
}

fn check_integer(content: &[u8]) -> Result<(), DerFault> {
    if fewest_octets(content)?.len() == content.len() {
        Ok(())
    } else {
        Err(DerFault::Integer)
    }
}

/// Parses the content octets of an INTEGER that is not negative; the magnitude has no leading zero octet.
fn parse_unsigned_integer(content: &[u8]) -> Result<&[u8], DerFault> {
    check_integer(content)?;
    match content {
        [first, ..] if first & 0x80 != 0 => Err(DerFault::Integer),
        [0, rest @ ..] if !rest.is_empty() => Ok(rest),
        magnitude => Ok(magnitude),
    }
}

/// Parses the content octets of an INTEGER between 0 and 2^64-1, whatever tag it came with.
pub fn parse_small_integer(content: &[u8]) -> Result<u64, DerFault> {
    let magnitude = parse_unsigned_integer(content)?;
    if magnitude.len() > 8 {
        return Err(DerFault::Integer);
    }
    Ok(magnitude
        .iter()
        .fold(0, |sum, octet| (sum << 8) | u64::from(*octet)))
}

/// The content octets of the INTEGER with this magnitude, big endian: leading zeros go, and one comes where the first
/// octet would make the number negative.
pub fn unsigned_content(magnitude: &[u8]) -> Cow<'_, [u8]> {
    let zeros = magnitude.iter().take_while(|octet| **octet == 0).count();
    match magnitude.get(zeros..).unwrap_or_default() {
        [] => Cow::Borrowed(&[0]),
        significant @ [first, ..] if first & 0x80 != 0 => Cow::Owned([&[0], significant].concat()),
        significant => Cow::Borrowed(significant),
    }
}

/// Parses the content octets of an OBJECT IDENTIFIER. At most 39 octets, which no assigned identifier reaches.
///
/// Arcs are in their shortest form (X.690 section 8.19.2): identifiers are compared by their octets and shown by their
/// arcs, and two that look the same must be the same.
pub fn parse_oid(value: &[u8]) -> Result<ObjectIdentifier, DerFault> {
    let mut begins_arc = true;
    for octet in value {
        if begins_arc && *octet == 0x80 {
            return Err(DerFault::Oid);
        }
        begins_arc = octet & 0x80 == 0;
    }
    ObjectIdentifier::from_bytes(value).map_err(|_| DerFault::Oid)
}

/// Parses the content octets of a BIT STRING.
pub fn parse_bit_string(value: &[u8]) -> Result<(&[u8], u8), DerFault> {
    let (&unused, octets) = value.split_first().ok_or(DerFault::BitString)?;
    let clear = match octets.last() {
        None => unused == 0,
        Some(last) => unused < 8 && last & ((1_u8 << unused) - 1) == 0,
    };
    if clear {
        Ok((octets, unused))
    } else {
        Err(DerFault::BitString)
    }
}

/// Parses `YYMMDDHHMMSSZ`; years 50 to 99 are 19xx (RFC 5280 section 4.1.2.5.1).
pub fn parse_utc_time(value: &[u8]) -> Result<i64, DerFault> {
    let Some((year, rest)) = digits(value, 2) else {
        return Err(DerFault::Time);
    };
    parse_time_of_year(if year >= 50 { 1900 + year } else { 2000 + year }, rest)
}

/// Parses `YYYYMMDDHHMMSSZ`, without a fraction (RFC 5280 section 4.1.2.5.2).
pub fn parse_generalized_time(value: &[u8]) -> Result<i64, DerFault> {
    let Some((year, rest)) = digits(value, 4) else {
        return Err(DerFault::Time);
    };
    parse_time_of_year(year, rest)
}

fn parse_time_of_year(year: i64, rest: &[u8]) -> Result<i64, DerFault> {
    let fields = || {
        let (month, rest) = digits(rest, 2)?;
        let (day, rest) = digits(rest, 2)?;
        let (hour, rest) = digits(rest, 2)?;
        let (minute, rest) = digits(rest, 2)?;
        let (second, rest) = digits(rest, 2)?;
        (rest == b"Z").then_some(())?;
        unix_from_civil(CivilTime {
            year,
            month,
            day,
            hour,
            minute,
            second,
        })
    };
    fields().ok_or(DerFault::Time)
}

fn digits(bytes: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (field, rest) = bytes.split_at_checked(count)?;
    let number = field.iter().try_fold(0_i64, |sum, octet| {
        octet
            .is_ascii_digit()
            .then(|| sum * 10 + i64::from(octet - b'0'))
    })?;
    Some((number, rest))
}

/// A moment in the proleptic Gregorian calendar, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CivilTime {
    /// 0 to 9999
    pub year: i64,
    /// 1 to 12
    pub month: i64,
    /// 1 to 31
    pub day: i64,
    /// 0 to 23
    pub hour: i64,
    /// 0 to 59
    pub minute: i64,
    /// 0 to 59: a leap second has no Unix time of its own
    pub second: i64,
}

const SECONDS_A_DAY: i64 = 24 * 60 * 60;
/// Days from 0000-03-01 to 1970-01-01, and days in 400 Gregorian years.
const DAYS_TO_EPOCH: i64 = 719_468;
const DAYS_AN_ERA: i64 = 400 * 365 + 97;

/// Unix seconds of a calendar moment; `None` when a field is out of range (30 February included).
pub fn unix_from_civil(time: CivilTime) -> Option<i64> {
    let CivilTime {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = time;
    let in_range = (0..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second);
    if !in_range {
        return None;
    }
    // The year is made to begin in March, so that the leap day is its last.
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * DAYS_AN_ERA + day_of_era - DAYS_TO_EPOCH;
    Some(days * SECONDS_A_DAY + hour * 3600 + minute * 60 + second)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The calendar moment of Unix seconds; `None` outside the years 0 to 9999.
pub fn civil_from_unix(unix: i64) -> Option<CivilTime> {
    let days = unix.div_euclid(SECONDS_A_DAY) + DAYS_TO_EPOCH;
    let second_of_day = unix.rem_euclid(SECONDS_A_DAY);
    let era = days.div_euclid(DAYS_AN_ERA);
    let day_of_era = days.rem_euclid(DAYS_AN_ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (0..=9999).contains(&year).then_some(CivilTime {
        year,
        month,
        day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
        hour: second_of_day / 3600,
        minute: second_of_day / 60 % 60,
        second: second_of_day % 60,
    })
}

/// Content of a GeneralizedTime: `YYYYMMDDHHMMSSZ`.
pub fn generalized_time(unix: i64) -> Result<String, DerFault> {
    let CivilTime {
        year,
        month,
        day,
        hour,
        minute,
        second,
    } = civil_from_unix(unix).ok_or(DerFault::Time)?;
    Ok(format!(
        "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z"
    ))
}

/// Tag and content of a certificate time: UTCTime for the years 1950 to 2049, GeneralizedTime otherwise.
pub fn certificate_time(unix: i64) -> Result<(u8, String), DerFault> {
    let text = generalized_time(unix)?;
    match civil_from_unix(unix) {
        Some(time) if (1950..2050).contains(&time.year) => {
            Ok((tag::UTC_TIME, text.get(2..).unwrap_or_default().to_owned()))
        }
        _ => Ok((tag::GENERALIZED_TIME, text)),
    }
}

/// Writes DER, innermost values in place, lengths patched when a structure is closed.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `capacity` octets.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            out: Vec::with_capacity(capacity),
        }
    }

    /// What was written.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Appends octets that are DER already.
    pub fn raw(&mut self, der: &[u8]) {
        self.out.extend_from_slice(der);
    }

    /// Appends one element.
    pub fn tlv(&mut self, tag: u8, value: &[u8]) {
        self.out.push(tag);
        let (octets, count) = length_octets(value.len());
        self.out
            .extend_from_slice(octets.get(..count).unwrap_or_default());
        self.out.extend_from_slice(value);
    }

    /// Appends a constructed element whose content `content` writes.
    pub fn nested(&mut self, tag: u8, content: impl FnOnce(&mut Self)) {
        self.out.extend_from_slice(&[tag, 0]);
        let start = self.out.len();
        content(self);
        let (octets, count) = length_octets(self.out.len() - start);
        // Most contents are short: then the octet that was kept for the length is all it takes, and nothing moves.
        if let (Some(kept), Some(first)) = (self.out.get_mut(start - 1), octets.first()) {
            *kept = *first;
        }
        if count > 1 {
            self.out
                .splice(start..start, octets.into_iter().take(count).skip(1));
        }
    }

    /// Appends a SEQUENCE.
    pub fn sequence(&mut self, content: impl FnOnce(&mut Self)) {
        self.nested(tag::SEQUENCE, content);
    }

    /// Appends an OBJECT IDENTIFIER.
    pub fn oid(&mut self, oid: &ObjectIdentifier) {
        self.tlv(tag::OBJECT_IDENTIFIER, oid.as_bytes());
    }

    /// Appends a non-negative INTEGER given as big-endian octets; leading zeros are normalised.
    pub fn unsigned_integer(&mut self, magnitude: &[u8]) {
        self.tlv(tag::INTEGER, &unsigned_content(magnitude));
    }

    /// Appends a non-negative INTEGER.
    pub fn integer(&mut self, value: u64) {
        self.unsigned_integer(&value.to_be_bytes());
    }

    /// Appends a BOOLEAN.
    pub fn boolean(&mut self, value: bool) {
        self.tlv(tag::BOOLEAN, &[if value { 0xff } else { 0x00 }]);
    }

    /// Appends an OCTET STRING.
    pub fn octet_string(&mut self, value: &[u8]) {
        self.tlv(tag::OCTET_STRING, value);
    }

    /// Appends a BIT STRING of whole octets.
    pub fn bit_string(&mut self, octets: &[u8]) {
        self.nested(tag::BIT_STRING, |content| {
            content.out.push(0);
            content.raw(octets);
        });
    }

    /// Appends a NULL.
    pub fn null(&mut self) {
        self.tlv(tag::NULL, &[]);
    }

    /// Appends a UTF8String.
    pub fn utf8_string(&mut self, text: &str) {
        self.tlv(tag::UTF8_STRING, text.as_bytes());
    }
}

/// One element on its own.
pub fn encode(tag: u8, value: &[u8]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(value.len() + 6);
    writer.tlv(tag, value);
    writer.finish()
}

/// A SEQUENCE around parts that are DER already.
pub fn encode_sequence(parts: &[&[u8]]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 6);
    writer.sequence(|content| parts.iter().for_each(|part| content.raw(part)));
    writer.finish()
}

/// Length octets in the shortest form, and how many of the nine are in use.
fn length_octets(length: usize) -> ([u8; 9], usize) {
    let mut octets = [0_u8; 9];
    if length < 0x80 {
        octets[0] = length.to_be_bytes().last().copied().unwrap_or_default();
        return (octets, 1);
    }
    let significant = length
        .to_be_bytes()
        .into_iter()
        .skip_while(|octet| *octet == 0);
    let mut count = 0;
    for (slot, octet) in octets.iter_mut().skip(1).zip(significant) {
        *slot = octet;
        count += 1;
    }
    octets[0] = 0x80 | u8::try_from(count).unwrap_or(8);
    (octets, 1 + count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_form() {
        let element = |bytes: &[u8]| {
            Reader::new(bytes)
                .element()
                .map(|element| element.value.len())
        };
        assert_eq!(element(&[4, 1, 9]), Ok(1));
        let long = [&[4, 0x81, 0x80][..], &[0; 128]].concat();
        assert_eq!(element(&long), Ok(128));
        assert_eq!(element(&[4, 0x81, 1, 9]), Err(DerFault::Length));
        assert_eq!(
            element(&[&[4, 0x82, 0, 0x80][..], &[0; 128]].concat()),
            Err(DerFault::Length)
        );
        assert_eq!(element(&[4, 0x80, 0, 0]), Err(DerFault::Length));
        assert_eq!(element(&[4, 0x85, 0, 0, 0, 0, 1]), Err(DerFault::Length));
        assert_eq!(
            element(&[4, 0x84, 0xff, 0xff, 0xff, 0xff]),
            Err(DerFault::Truncated)
        );
        assert_eq!(element(&[4]), Err(DerFault::Truncated));
        assert_eq!(element(&[0x1f, 1, 0]), Err(DerFault::HighTagNumber));
    }

    #[test]
    fn what_is_written_is_read_at_every_length_boundary() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let value = vec![7; length];
            let der = encode(tag::OCTET_STRING, &value);
            assert_eq!(only(&der, tag::OCTET_STRING).unwrap().value, value);
            let mut nested = Writer::new();
            nested.sequence(|w| w.octet_string(&value));
            let nested = nested.finish();
            assert_eq!(only(&nested, tag::SEQUENCE).unwrap().value, der);
        }
    }

    #[test]
    fn integers_have_one_form() {
        let read = |content: &[u8]| {
            let der = encode(tag::INTEGER, content);
            Reader::new(&der).small_integer()
        };
        assert_eq!(read(&[0]), Ok(0));
        assert_eq!(read(&[0, 0x80]), Ok(128));
        for refused in [&[][..], &[0, 1], &[0xff, 0x80], &[0x80], &[1; 9]] {
            assert_eq!(read(refused), Err(DerFault::Integer), "{refused:?}");
        }
        for value in [0, 1, 127, 128, 255, 256, u64::MAX] {
            let mut writer = Writer::new();
            writer.integer(value);
            assert_eq!(Reader::new(&writer.finish()).small_integer(), Ok(value));
        }
    }

    #[test]
    fn dates_convert_both_ways_and_impossible_ones_are_refused() {
        let utc = |text: &str| parse_utc_time(text.as_bytes());
        assert_eq!(utc("700101000000Z"), Ok(0));
        assert_eq!(utc("491231235959Z"), Ok(2_524_607_999));
        assert_eq!(utc("500101000000Z"), Ok(-631_152_000));
        assert_eq!(utc("240229120000Z"), Ok(1_709_208_000));
        for refused in [
            "230229120000Z",
            "700101000000",
            "700101240000Z",
            "700101006000Z",
            "701301000000Z",
            "7001010000Z",
            "700101000000+0000",
            "70010100000 Z",
            "700100000000Z",
            "700101000060Z",
        ] {
            assert_eq!(utc(refused), Err(DerFault::Time), "{refused}");
        }
        assert_eq!(
            parse_generalized_time(b"20500101000000Z"),
            Ok(2_524_608_000)
        );
        assert_eq!(
            parse_generalized_time(b"20500101000000.5Z"),
            Err(DerFault::Time)
        );
        let mut unix = -62_167_219_200;
        while let Some(time) = civil_from_unix(unix) {
            assert_eq!(unix_from_civil(time), Some(unix));
            unix += 86_400 * 13 + 12_345;
        }
        assert_eq!(civil_from_unix(253_402_300_800), None, "the year 10000");
        assert_eq!(civil_from_unix(i64::MAX), None);
        assert_eq!(civil_from_unix(i64::MIN), None);
    }

    #[test]
    fn certificate_times_change_their_form_in_2050() {
        let shown = certificate_time;
        assert_eq!(
            shown(2_524_607_999),
            Ok((tag::UTC_TIME, "491231235959Z".to_owned()))
        );
        assert_eq!(
            shown(2_524_608_000),
            Ok((tag::GENERALIZED_TIME, "20500101000000Z".to_owned()))
        );
    }

    #[test]
    fn object_identifiers_have_one_form() {
        let read = |content: &[u8]| parse_oid(content).map(|oid| oid.to_string());
        assert_eq!(read(&[0x2a, 0x86, 0x48]).as_deref(), Ok("1.2.840"));
        assert_eq!(read(&[0x67, 0x81, 0x0c]).as_deref(), Ok("2.23.140"));
        for refused in [
            &[][..],
            &[0x2a, 0x86],
            &[0x2a, 0x80, 0x03],
            &[0x80, 0x2a],
            &[0x2a, 0x80],
            &[0x2a; 40],
        ] {
            assert_eq!(read(refused), Err(DerFault::Oid), "{refused:?}");
        }
    }

    #[test]
    fn bit_strings_have_no_stray_bits() {
        assert_eq!(parse_bit_string(&[0]), Ok((&[][..], 0)));
        assert_eq!(parse_bit_string(&[7, 0x80]), Ok((&[0x80][..], 7)));
        for refused in [&[][..], &[1], &[8, 0], &[7, 0xc0], &[255, 0]] {
            assert_eq!(
                parse_bit_string(refused),
                Err(DerFault::BitString),
                "{refused:?}"
            );
        }
    }
}
