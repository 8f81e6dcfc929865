//! Surgery on TBSCertificates: what is kept is kept byte for byte, and only lengths around it are written anew.

use const_oid::ObjectIdentifier;

use crate::asn1::{self, Element, Reader, Writer, tag};
use crate::error::{DerFault, Error, Within as _};

const WHAT: &str = "TBSCertificate";
const EXTENSIONS: u8 = tag::context_constructed(3);
/// version, serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
const FIELDS_BEFORE_EXTENSIONS: usize = 7;

/// A version 3 TBSCertificate in its parts.
pub(crate) struct TbsParts<'a> {
    /// The fields before the extensions, in order, whole elements.
    pub(crate) fields: [Element<'a>; FIELDS_BEFORE_EXTENSIONS],
    /// The extensions: identifier and whole element.
    pub(crate) extensions: Vec<(ObjectIdentifier, &'a [u8])>,
}

/// Takes a TBSCertificate apart. Unique identifiers and versions before 3 are refused: no certificate of ours and no
/// certificate with a timestamp has them.
pub(crate) fn split(tbs: &[u8]) -> Result<TbsParts<'_>, Error> {
    split_strictly(tbs).within(WHAT)
}

fn split_strictly(tbs: &[u8]) -> Result<TbsParts<'_>, DerFault> {
    let mut reader = asn1::only(tbs, tag::SEQUENCE)?.reader();
    let fields = [
        reader.expect(tag::context_constructed(0))?,
        reader.expect(tag::INTEGER)?,
        reader.expect(tag::SEQUENCE)?,
        reader.expect(tag::SEQUENCE)?,
        reader.expect(tag::SEQUENCE)?,
        reader.expect(tag::SEQUENCE)?,
        reader.expect(tag::SEQUENCE)?,
    ];
    let explicit = reader.expect(EXTENSIONS)?;
    reader.finish()?;
    let mut list = asn1::only(explicit.value, tag::SEQUENCE)?.reader();
    let mut extensions = Vec::new();
    while !list.is_empty() {
        let extension = list.expect(tag::SEQUENCE)?;
        extensions.push((Reader::new(extension.value).oid()?, extension.whole));
    }
    Ok(TbsParts { fields, extensions })
}

/// Puts a TBSCertificate together; without extensions the field is left out.
pub(crate) fn join<'a>(
    fields: impl IntoIterator<Item = &'a [u8]>,
    extensions: impl IntoIterator<Item = &'a [u8]>,
    capacity: usize,
) -> Vec<u8> {
    let mut list = Writer::with_capacity(capacity);
    let mut extensions = extensions.into_iter().peekable();
    let any = extensions.peek().is_some();
    list.nested(EXTENSIONS, |w| {
        w.sequence(|w| extensions.for_each(|extension| w.raw(extension)))
    });
    let list = list.finish();
    let mut tbs = Writer::with_capacity(capacity);
    tbs.sequence(|w| {
        fields.into_iter().for_each(|field| w.raw(field));
        if any {
            w.raw(&list);
        }
    });
    tbs.finish()
}

/// The TBSCertificate without the extensions named.
pub(crate) fn without(tbs: &[u8], removed: &[ObjectIdentifier]) -> Result<Vec<u8>, Error> {
    let parts = split(tbs)?;
    let kept = parts
        .extensions
        .iter()
        .filter(|(oid, _)| !removed.contains(oid))
        .map(|(_, whole)| *whole);
    Ok(join(
        parts.fields.iter().map(|field| field.whole),
        kept,
        tbs.len(),
    ))
}

/// One Extension.
#[cfg(feature = "issue")]
pub(crate) fn extension(oid: &ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(value.len() + 24);
    writer.sequence(|w| {
        w.oid(oid);
        if critical {
            w.boolean(true);
        }
        w.octet_string(value);
    });
    writer.finish()
}
