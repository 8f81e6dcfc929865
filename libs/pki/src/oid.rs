//! Object identifiers of the stack, by their names in the RFCs and in the certificate profile.

use const_oid::ObjectIdentifier;

const fn oid(dotted: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(dotted)
}

/// id-at-commonName
pub const COMMON_NAME: ObjectIdentifier = oid("2.5.4.3");
/// id-at-countryName
pub const COUNTRY_NAME: ObjectIdentifier = oid("2.5.4.6");
/// id-at-localityName
pub const LOCALITY_NAME: ObjectIdentifier = oid("2.5.4.7");
/// id-at-stateOrProvinceName
pub const STATE_OR_PROVINCE_NAME: ObjectIdentifier = oid("2.5.4.8");
/// id-at-organizationName
pub const ORGANIZATION_NAME: ObjectIdentifier = oid("2.5.4.10");
/// id-at-organizationalUnitName
pub const ORGANIZATIONAL_UNIT_NAME: ObjectIdentifier = oid("2.5.4.11");
/// domainComponent (RFC 4519)
pub const DOMAIN_COMPONENT: ObjectIdentifier = oid("0.9.2342.19200300.100.1.25");
/// emailAddress (PKCS #9)
pub const EMAIL_ADDRESS: ObjectIdentifier = oid("1.2.840.113549.1.9.1");

/// subjectKeyIdentifier (RFC 5280 section 4.2.1.2)
pub const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = oid("2.5.29.14");
/// keyUsage (RFC 5280 section 4.2.1.3)
pub const KEY_USAGE: ObjectIdentifier = oid("2.5.29.15");
/// subjectAltName (RFC 5280 section 4.2.1.6)
pub const SUBJECT_ALT_NAME: ObjectIdentifier = oid("2.5.29.17");
/// basicConstraints (RFC 5280 section 4.2.1.9)
pub const BASIC_CONSTRAINTS: ObjectIdentifier = oid("2.5.29.19");
/// cRLNumber (RFC 5280 section 5.2.3)
pub const CRL_NUMBER: ObjectIdentifier = oid("2.5.29.20");
/// reasonCode (RFC 5280 section 5.3.1)
pub const CRL_REASON: ObjectIdentifier = oid("2.5.29.21");
/// invalidityDate (RFC 5280 section 5.3.2)
pub const INVALIDITY_DATE: ObjectIdentifier = oid("2.5.29.24");
/// deltaCRLIndicator (RFC 5280 section 5.2.4)
pub const DELTA_CRL_INDICATOR: ObjectIdentifier = oid("2.5.29.27");
/// issuingDistributionPoint (RFC 5280 section 5.2.5)
pub const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = oid("2.5.29.28");
/// certificateIssuer (RFC 5280 section 5.3.3)
pub const CERTIFICATE_ISSUER: ObjectIdentifier = oid("2.5.29.29");
/// cRLDistributionPoints (RFC 5280 section 4.2.1.13)
pub const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = oid("2.5.29.31");
/// expiredCertsOnCRL (X.509 section 9.5.2.8)
pub const EXPIRED_CERTS_ON_CRL: ObjectIdentifier = oid("2.5.29.60");
/// nameConstraints (RFC 5280 section 4.2.1.10)
pub const NAME_CONSTRAINTS: ObjectIdentifier = oid("2.5.29.30");
/// certificatePolicies (RFC 5280 section 4.2.1.4)
pub const CERTIFICATE_POLICIES: ObjectIdentifier = oid("2.5.29.32");
/// authorityKeyIdentifier (RFC 5280 section 4.2.1.1)
pub const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = oid("2.5.29.35");
/// extKeyUsage (RFC 5280 section 4.2.1.12)
pub const EXTENDED_KEY_USAGE: ObjectIdentifier = oid("2.5.29.37");

/// anyExtendedKeyUsage
pub const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = oid("2.5.29.37.0");
/// id-kp-serverAuth
pub const SERVER_AUTH: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.1");
/// id-kp-codeSigning
pub const CODE_SIGNING: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.3");
/// id-kp-timeStamping
pub const TIME_STAMPING: ObjectIdentifier = oid("1.3.6.1.5.5.7.3.8");

/// SignedCertificateTimestampList (RFC 6962 section 3.3)
pub const SCT_LIST: ObjectIdentifier = oid("1.3.6.1.4.1.11129.2.4.2");
/// Precertificate poison (RFC 6962 section 3.1)
pub const PRECERTIFICATE_POISON: ObjectIdentifier = oid("1.3.6.1.4.1.11129.2.4.3");

/// The arc of the certificate profile's extensions, `1.3.6.1.4.1.57264.1`; `.N` are its leaves.
pub const FULCIO_ARC: ObjectIdentifier = oid("1.3.6.1.4.1.57264.1");
/// Issuer, raw bytes, deprecated
pub const FULCIO_ISSUER_V1: ObjectIdentifier = oid("1.3.6.1.4.1.57264.1.1");
/// Type of the otherName that carries `username!domain`
pub const FULCIO_USERNAME: ObjectIdentifier = oid("1.3.6.1.4.1.57264.1.7");
/// Issuer, DER UTF8String
pub const FULCIO_ISSUER_V2: ObjectIdentifier = oid("1.3.6.1.4.1.57264.1.8");

/// ecdsa-with-SHA1, refused
pub const ECDSA_WITH_SHA1: ObjectIdentifier = oid("1.2.840.10045.4.1");
/// ecdsa-with-SHA256 (RFC 5758)
pub const ECDSA_WITH_SHA256: ObjectIdentifier = oid("1.2.840.10045.4.3.2");
/// ecdsa-with-SHA384 (RFC 5758)
pub const ECDSA_WITH_SHA384: ObjectIdentifier = oid("1.2.840.10045.4.3.3");
/// ecdsa-with-SHA512 (RFC 5758)
pub const ECDSA_WITH_SHA512: ObjectIdentifier = oid("1.2.840.10045.4.3.4");
/// rsaEncryption (RFC 4055)
pub const RSA_ENCRYPTION: ObjectIdentifier = oid("1.2.840.113549.1.1.1");
/// id-RSASSA-PSS (RFC 4055)
pub const RSASSA_PSS: ObjectIdentifier = oid("1.2.840.113549.1.1.10");
/// id-mgf1 (RFC 4055)
pub const MGF1: ObjectIdentifier = oid("1.2.840.113549.1.1.8");
/// sha256WithRSAEncryption (RFC 4055)
pub const SHA256_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.11");
/// sha384WithRSAEncryption (RFC 4055)
pub const SHA384_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.12");
/// sha512WithRSAEncryption (RFC 4055)
pub const SHA512_WITH_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.13");
/// id-Ed25519 (RFC 8410)
pub const ED25519: ObjectIdentifier = oid("1.3.101.112");

/// id-sha1, refused
pub const SHA1: ObjectIdentifier = oid("1.3.14.3.2.26");
/// id-sha256 (RFC 4055)
pub const SHA256: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.1");
/// id-sha384 (RFC 4055)
pub const SHA384: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.2");
/// id-sha512 (RFC 4055)
pub const SHA512: ObjectIdentifier = oid("2.16.840.1.101.3.4.2.3");
