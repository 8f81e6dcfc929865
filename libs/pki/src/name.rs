//! Distinguished names: well-formedness and display. Names are compared as DER, octet for octet.

use const_oid::ObjectIdentifier;

use crate::asn1::{self, Element, Reader, tag};
use crate::error::DerFault;
use crate::oid;

/// Most relative distinguished names in one name.
const MAX_NAME_PARTS: usize = 64;

/// One attribute of a name.
struct Attribute<'a> {
    oid: ObjectIdentifier,
    value: Element<'a>,
}

/// Checks the content of an RDNSequence.
pub(crate) fn check(rdn_sequence: &[u8]) -> Result<(), DerFault> {
    parts(rdn_sequence).map(|_| ())
}

fn parts(rdn_sequence: &[u8]) -> Result<Vec<Vec<Attribute<'_>>>, DerFault> {
    let mut reader = Reader::new(rdn_sequence);
    let mut parts = Vec::new();
    while !reader.is_empty() {
        if parts.len() == MAX_NAME_PARTS {
            return Err(DerFault::Length);
        }
        parts.push(part(reader.set()?)?);
    }
    Ok(parts)
}

fn part(mut set: Reader<'_>) -> Result<Vec<Attribute<'_>>, DerFault> {
    let mut attributes = Vec::with_capacity(1);
    let mut previous: &[u8] = &[];
    while !set.is_empty() {
        let element = set.expect(tag::SEQUENCE)?;
        // X.690 section 11.6. Names are compared as bytes, so one set must not have two forms; readers that sort before
        // they compare would see an equality that is not there.
        if element.whole < previous {
            return Err(DerFault::SetOrder);
        }
        previous = element.whole;
        let mut attribute = element.reader();
        let oid = attribute.oid()?;
        let value = attribute.element()?;
        attribute.finish()?;
        attributes.push(Attribute { oid, value });
    }
    // RelativeDistinguishedName ::= SET SIZE (1..MAX)
    if attributes.is_empty() {
        Err(DerFault::Length)
    } else {
        Ok(attributes)
    }
}

/// Text of a Name's DER in the manner of RFC 4514: last part first, `+` within a part.
pub(crate) fn display(name_der: &[u8]) -> String {
    let shown = asn1::only(name_der, tag::SEQUENCE)
        .and_then(|sequence| parts(sequence.value))
        .map(|parts| {
            let part = |attributes: &Vec<Attribute<'_>>| {
                attributes.iter().map(show).collect::<Vec<_>>().join("+")
            };
            parts.iter().rev().map(part).collect::<Vec<_>>().join(",")
        });
    shown.unwrap_or_else(|_| "(malformed name)".to_owned())
}

fn show(attribute: &Attribute<'_>) -> String {
    let value = text(attribute.value).map_or_else(
        || format!("#{}", hex::encode(attribute.value.whole)),
        |t| escape(&t),
    );
    match short_name(&attribute.oid) {
        Some(short) => format!("{short}={value}"),
        None => format!("{}={value}", attribute.oid),
    }
}

fn short_name(oid: &ObjectIdentifier) -> Option<&'static str> {
    const NAMES: [(ObjectIdentifier, &str); 8] = [
        (oid::COMMON_NAME, "CN"),
        (oid::COUNTRY_NAME, "C"),
        (oid::LOCALITY_NAME, "L"),
        (oid::STATE_OR_PROVINCE_NAME, "ST"),
        (oid::ORGANIZATION_NAME, "O"),
        (oid::ORGANIZATIONAL_UNIT_NAME, "OU"),
        (oid::DOMAIN_COMPONENT, "DC"),
        (oid::EMAIL_ADDRESS, "emailAddress"),
    ];
    NAMES
        .into_iter()
        .find(|(known, _)| known == oid)
        .map(|(_, short)| short)
}

/// The characters of a string type; `None` for other types and for text that is not of its type.
fn text(value: Element<'_>) -> Option<String> {
    match value.tag {
        tag::UTF8_STRING => std::str::from_utf8(value.value).ok().map(str::to_owned),
        tag::PRINTABLE_STRING | tag::IA5_STRING if value.value.is_ascii() => {
            std::str::from_utf8(value.value).ok().map(str::to_owned)
        }
        tag::TELETEX_STRING => Some(value.value.iter().copied().map(char::from).collect()),
        tag::BMP_STRING if value.value.len().is_multiple_of(2) => {
            let units = value
                .value
                .chunks_exact(2)
                .map(|pair| pair.iter().fold(0, |sum, b| (sum << 8) | u16::from(*b)));
            char::decode_utf16(units)
                .collect::<Result<String, _>>()
                .ok()
        }
        _ => None,
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (position, character) in text.char_indices() {
        match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => escaped.extend(['\\', character]),
            '#' if position == 0 => escaped.push_str("\\#"),
            // Control characters and the direction marks could forge what an operator reads.
            c if c.is_control()
                || ('\u{200e}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c) =>
            {
                escaped.push_str(&format!("\\u{{{:x}}}", u32::from(c)));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

/// Values of emailAddress attributes in a Name's DER: constraints on mailboxes apply to them too.
pub(crate) fn email_addresses(name_der: &[u8]) -> Vec<String> {
    let Ok(parts) = asn1::only(name_der, tag::SEQUENCE).and_then(|sequence| parts(sequence.value))
    else {
        return Vec::new();
    };
    let addresses = parts
        .iter()
        .flatten()
        .filter(|attribute| attribute.oid == oid::EMAIL_ADDRESS);
    addresses
        .filter_map(|attribute| text(attribute.value))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_with_attributes_out_of_order_is_refused() {
        let attribute = |oid: &ObjectIdentifier, text: &str| {
            let mut writer = asn1::Writer::new();
            writer.sequence(|fields| {
                fields.oid(oid);
                fields.utf8_string(text);
            });
            writer.finish()
        };
        let organization = attribute(&oid::ORGANIZATION_NAME, "example");
        let unit = attribute(&oid::ORGANIZATIONAL_UNIT_NAME, "example");
        let set = |attributes: [&[u8]; 2]| asn1::encode(tag::SET, &attributes.concat());
        assert_eq!(check(&set([&organization, &unit])), Ok(()));
        assert_eq!(check(&set([&unit, &organization])), Err(DerFault::SetOrder));
    }
}
