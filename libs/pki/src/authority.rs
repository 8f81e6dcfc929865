//! Certificates of authorities and servers, made when an instance is created or renewed by its operator: roots, issuing
//! authorities, timestamp authorities, TLS of development and between services. Leaves of keyless signing are
//! [`crate::issue`]'s.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, SanType,
};
use sealwright_crypto::{PrivateKey, PublicKey};

use crate::algorithm::SignatureScheme;
use crate::asn1::{self, tag};
use crate::certificate::Certificate;
use crate::chain::Purpose;
use crate::error::{Error, IssuerFault, SignFault};
use crate::oid;
use crate::render::{self, Issuance, key_identifier};
use crate::serial::SerialNumber;

/// Name of an authority. Both parts must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityName {
    /// commonName
    pub common_name: String,
    /// organizationName
    pub organization: String,
    /// Adds the organizational unit `development`, so that nobody takes such an authority for a real one.
    pub development: bool,
}

/// What every certificate here is given by its caller: serial number and validity, Unix seconds, both ends included.
#[derive(Debug, Clone, Copy)]
pub struct Envelope {
    /// Random, made for this certificate alone.
    pub serial: SerialNumber,
    /// notBefore
    pub not_before: i64,
    /// notAfter; a certificate never outlives its issuer, so it is cut to the issuer's.
    pub not_after: i64,
}

/// An authority that signs others: its certificate and its key.
#[derive(Debug, Clone, Copy)]
pub struct Parent<'a> {
    /// The signing certificate.
    pub certificate: &'a Certificate,
    /// Its key.
    pub key: &'a PrivateKey,
}

/// A self-signed root: CA:TRUE, keyCertSign and cRLSign, no extended key usage. `path_len` is the number of authorities
/// that may stand between it and a leaf.
///
/// # Errors
/// [`Error::Render`] for a name or a time that X.509 cannot hold, [`Error::Sign`].
pub fn root(
    key: &PrivateKey,
    name: &AuthorityName,
    path_len: u8,
    envelope: &Envelope,
) -> Result<Certificate, Error> {
    let params = authority_params(name, path_len);
    let own_name = name_der(&params)?;
    sign(
        params,
        key.public_key(),
        envelope,
        &own_name,
        &key_identifier(key.public_key()),
        key,
    )
}

/// An issuing authority below `parent`: as a root, with no further authorities below (pathLen 0) and with the one
/// extended key usage that its leaves are for; none for [`Purpose::Any`].
///
/// # Errors
/// [`Error::Issuer`] when `parent`'s key is not its certificate's; as [`root`].
pub fn intermediate(
    subject_key: &PublicKey,
    name: &AuthorityName,
    purpose: Purpose,
    envelope: &Envelope,
    parent: Parent<'_>,
) -> Result<Certificate, Error> {
    let mut params = authority_params(name, 0);
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = match purpose {
        Purpose::CodeSigning => vec![ExtendedKeyUsagePurpose::CodeSigning],
        Purpose::TimeStamping => vec![ExtendedKeyUsagePurpose::TimeStamping],
        Purpose::ServerAuth => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Purpose::Other(other) => {
            let arcs = other.arcs().map(u64::from).collect();
            vec![ExtendedKeyUsagePurpose::Other(arcs)]
        }
        Purpose::Any => Vec::new(),
    };
    sign_below(params, subject_key, envelope, parent)
}

/// A timestamp authority's leaf (RFC 3161 section 2.3): critical extended key usage timeStamping alone.
///
/// # Errors
/// [`Error::Issuer`] when `parent`'s key is not its certificate's; as [`root`].
pub fn time_stamping_leaf(
    subject_key: &PublicKey,
    name: &AuthorityName,
    envelope: &Envelope,
    parent: Parent<'_>,
) -> Result<Certificate, Error> {
    let mut params = leaf_params(name);
    params.custom_extensions = vec![
        extended_key_usage(&oid::TIME_STAMPING, true),
        subject_key_identifier(subject_key),
    ];
    sign_below(params, subject_key, envelope, parent)
}

/// A TLS server's leaf for these host names and addresses.
///
/// # Errors
/// [`Error::Issuer`] when `parent`'s key is not its certificate's; as [`root`].
pub fn tls_server(
    subject_key: &PublicKey,
    host_names: &[&str],
    addresses: &[IpAddr],
    envelope: &Envelope,
    parent: Parent<'_>,
) -> Result<Certificate, Error> {
    let purposes = vec![ExtendedKeyUsagePurpose::ServerAuth];
    tls_leaf(
        subject_key,
        host_names,
        addresses,
        purposes,
        envelope,
        parent,
    )
}

/// A service's leaf towards other services, as TLS server and as TLS client: who it is is this one DNS name.
///
/// # Errors
/// [`Error::Issuer`] when `parent`'s key is not its certificate's; as [`root`].
pub fn tls_service(
    subject_key: &PublicKey,
    name: &str,
    envelope: &Envelope,
    parent: Parent<'_>,
) -> Result<Certificate, Error> {
    let purposes = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    tls_leaf(subject_key, &[name], &[], purposes, envelope, parent)
}

fn tls_leaf(
    subject_key: &PublicKey,
    host_names: &[&str],
    addresses: &[IpAddr],
    purposes: Vec<ExtendedKeyUsagePurpose>,
    envelope: &Envelope,
    parent: Parent<'_>,
) -> Result<Certificate, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages = purposes;
    for host_name in host_names {
        let text = (*host_name)
            .try_into()
            .map_err(|error: rcgen::Error| Error::Render {
                detail: error.to_string(),
            })?;
        params.subject_alt_names.push(SanType::DnsName(text));
    }
    params
        .subject_alt_names
        .extend(addresses.iter().copied().map(SanType::IpAddress));
    params.custom_extensions = vec![subject_key_identifier(subject_key)];
    sign_below(params, subject_key, envelope, parent)
}

fn authority_params(name: &AuthorityName, path_len: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(name: &AuthorityName) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

fn distinguished_name(name: &AuthorityName) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    let mut push =
        |kind, text: &str| distinguished.push(kind, DnValue::Utf8String(text.to_owned()));
    push(DnType::OrganizationName, &name.organization);
    if name.development {
        push(DnType::OrganizationalUnitName, "development");
    }
    push(DnType::CommonName, &name.common_name);
    distinguished
}

fn extended_key_usage(purpose: &const_oid::ObjectIdentifier, critical: bool) -> CustomExtension {
    let value = asn1::encode_sequence(&[&asn1::encode(tag::OBJECT_IDENTIFIER, purpose.as_bytes())]);
    custom_extension(&oid::EXTENDED_KEY_USAGE, critical, value)
}

/// `rcgen` writes this extension for authorities only.
fn subject_key_identifier(key: &PublicKey) -> CustomExtension {
    let value = asn1::encode(tag::OCTET_STRING, &key_identifier(key));
    custom_extension(&oid::SUBJECT_KEY_IDENTIFIER, false, value)
}

fn custom_extension(
    oid: &const_oid::ObjectIdentifier,
    critical: bool,
    value: Vec<u8>,
) -> CustomExtension {
    let arcs: Vec<u64> = oid.arcs().map(u64::from).collect();
    let mut extension = CustomExtension::from_oid_content(&arcs, value);
    extension.set_criticality(critical);
    extension
}

/// DER of a name that `rcgen` writes: that of a throw-away rendering.
fn name_der(params: &CertificateParams) -> Result<Vec<u8>, Error> {
    render::subject_der(params.distinguished_name.clone())
}

fn sign_below(
    params: CertificateParams,
    subject_key: &PublicKey,
    envelope: &Envelope,
    parent: Parent<'_>,
) -> Result<Certificate, Error> {
    let Parent { certificate, key } = parent;
    if certificate.public_key()? != key.public_key() {
        return Err(Error::Issuer(IssuerFault::KeyMismatch));
    }
    let identifier = certificate
        .subject_key_identifier()
        .ok_or(Error::Issuer(IssuerFault::NoKeyIdentifier))?;
    let envelope = Envelope {
        not_after: envelope.not_after.min(certificate.not_after()),
        ..*envelope
    };
    sign(
        params,
        subject_key,
        &envelope,
        certificate.subject_der(),
        identifier,
        key,
    )
}

fn sign(
    mut params: CertificateParams,
    subject_key: &PublicKey,
    envelope: &Envelope,
    issuer_name: &[u8],
    issuer_key_identifier: &[u8],
    key: &PrivateKey,
) -> Result<Certificate, Error> {
    let algorithm = key.key_type().default_algorithm();
    params.serial_number = Some(envelope.serial.as_bytes().to_vec().into());
    params.key_identifier_method = KeyIdMethod::PreSpecified(key_identifier(subject_key).to_vec());
    let issuance = Issuance {
        issuer_name,
        key_identifier: issuer_key_identifier,
        algorithm,
    };
    let tbs = render::to_be_signed(
        params,
        subject_key,
        (envelope.not_before, envelope.not_after),
        &issuance,
    )?;
    let signature = key
        .sign(algorithm, &tbs)
        .map_err(|error| Error::Sign(SignFault(error)))?;
    let scheme = SignatureScheme::of(algorithm)
        .ok_or(Error::Issuer(IssuerFault::Algorithm { algorithm }))?;
    let certificate = render::assemble(&tbs, scheme, &signature)?;
    certificate.verify_signature(key.public_key())?;
    Ok(certificate)
}
