//! Whole tokens: what an authority makes, a verifier believes, and what is bent by one field, it does not.

use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, PrivateKey, sha256};

use super::names;
use super::token::attribute;
use super::*;
use crate::algorithm::{algorithm_identifier, hash_identifier};
use crate::asn1::{self, Writer, tag};
use crate::authority::{self, AuthorityName, Envelope, Parent};
use crate::certificate::Certificate;
use crate::chain::Purpose;
use crate::error::{ChainFault, Error};
use crate::serial::SerialNumber;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const DATA: &[u8] = b"a signature";

/// Root, intermediate and signer, with the signer's key.
struct Authorities {
    root: Certificate,
    intermediate: Certificate,
    intermediate_key: PrivateKey,
    leaf: Certificate,
    key: PrivateKey,
    algorithm: Algorithm,
}

fn name(common_name: &str) -> AuthorityName {
    AuthorityName {
        common_name: common_name.to_owned(),
        organization: "Test".to_owned(),
        development: true,
    }
}

fn envelope(number: u8) -> Envelope {
    Envelope {
        serial: SerialNumber::from_random([number; 20]),
        not_before: NOW - DAY,
        not_after: NOW + DAY,
    }
}

fn generate(key_type: KeyType) -> PrivateKey {
    PrivateKey::generate(key_type).expect("a key")
}

impl Authorities {
    fn new(key_type: KeyType) -> Self {
        Self::with_key(generate(key_type))
    }

    fn with_key(key: PrivateKey) -> Self {
        let (root_key, intermediate_key) = (generate(KeyType::EcP256), generate(KeyType::EcP256));
        let root = authority::root(&root_key, &name("root"), 1, &envelope(1)).expect("a root");
        let above = Parent {
            certificate: &root,
            key: &root_key,
        };
        let (subject, purpose) = (intermediate_key.public_key(), Purpose::TimeStamping);
        let intermediate =
            authority::intermediate(subject, &name("issuer"), purpose, &envelope(2), above)
                .expect("an issuer");
        let parent = Parent {
            certificate: &intermediate,
            key: &intermediate_key,
        };
        let leaf =
            authority::time_stamping_leaf(key.public_key(), &name("signer"), &envelope(3), parent)
                .expect("a leaf");
        let algorithm = key.key_type().default_algorithm();
        Self {
            root,
            intermediate,
            intermediate_key,
            leaf,
            key,
            algorithm,
        }
    }

    fn chain(&self) -> Vec<Certificate> {
        vec![
            self.leaf.clone(),
            self.intermediate.clone(),
            self.root.clone(),
        ]
    }

    fn template(&self) -> TokenTemplate {
        let accuracy = Accuracy {
            seconds: 1,
            ..Accuracy::default()
        };
        TokenTemplate::new(&self.chain(), self.algorithm, Some(accuracy)).expect("a template")
    }

    fn respond(&self, template: &TokenTemplate, stamp: &Stamp<'_>) -> Vec<u8> {
        let token = template.prepare(stamp).expect("in range");
        let signature = self
            .key
            .sign(self.algorithm, token.message())
            .expect("signs");
        token.finish(&signature)
    }

    fn response(&self) -> Vec<u8> {
        self.respond(&self.template(), &stamp(&sha256(DATA)))
    }

    fn root_alone(&self) -> Authority<'_> {
        Authority {
            roots: std::slice::from_ref(&self.root),
            intermediates: &[],
            signer: None,
        }
    }
}

fn policy() -> crate::ObjectIdentifier {
    crate::ObjectIdentifier::new_unwrap("1.3.6.1.4.1.99999.1")
}

fn stamp(digest: &[u8; 32]) -> Stamp<'_> {
    Stamp {
        policy: policy(),
        message_imprint: MessageImprint::new(HashAlgorithm::Sha256, digest).expect("fits"),
        serial: [0x11; 20],
        gen_time: NOW,
        nonce: Some(&[0x42]),
        with_certificates: true,
    }
}

fn check(response: &[u8], authority: &Authority<'_>) -> Result<VerifiedTimestamp, TimestampError> {
    verify(response, authority, &Expectation::over(DATA))
}

#[test]
fn a_token_verifies_with_the_root_alone_and_says_what_was_stamped() {
    let authorities = Authorities::new(KeyType::EcP256);
    let response = authorities.response();
    let expected = Expectation {
        nonce: Some(&[0x42]),
        policy: Some(policy()),
        ..Expectation::over(DATA)
    };
    let verified = verify(&response, &authorities.root_alone(), &expected).expect("holds");
    assert_eq!(verified.gen_time(), NOW);
    assert_eq!(verified.signer(), &authorities.leaf);
    let timestamp = verified.timestamp();
    assert_eq!(timestamp.serial, [0x11; 20]);
    assert_eq!(
        timestamp.accuracy,
        Some(Accuracy {
            seconds: 1,
            millis: 0,
            micros: 0
        })
    );
    assert_eq!(timestamp.hashed_message, sha256(DATA));
    let tsa = timestamp
        .tsa
        .as_deref()
        .expect("the authority names itself");
    assert!(tsa.ends_with(authorities.leaf.subject_der()));
    assert_eq!(inspect(&response).as_ref(), Ok(timestamp));
}

#[test]
fn every_accepted_kind_of_signer_is_believed() {
    let rsa = generate(KeyType::Rsa { bits: 2048 });
    for authorities in [
        Authorities::new(KeyType::EcP384),
        Authorities::with_key(rsa),
    ] {
        check(&authorities.response(), &authorities.root_alone()).expect("holds");
    }
}

#[test]
fn imprints_of_all_accepted_lengths_are_stamped() {
    let authorities = Authorities::new(KeyType::EcP256);
    for algorithm in HashAlgorithm::ALL {
        let digest = algorithm.digest(DATA);
        let imprint = MessageImprint::new(algorithm, digest.as_bytes()).expect("fits");
        let stamp = Stamp {
            message_imprint: imprint,
            ..stamp(&[0; 32])
        };
        let response = authorities.respond(&authorities.template(), &stamp);
        let verified = check(&response, &authorities.root_alone()).expect("holds");
        assert_eq!(verified.timestamp().hash_algorithm, algorithm);
    }
}

#[test]
fn without_certificates_in_the_token_the_trust_material_must_bring_them() {
    let authorities = Authorities::new(KeyType::EcP256);
    let digest = sha256(DATA);
    let bare = Stamp {
        with_certificates: false,
        nonce: None,
        ..stamp(&digest)
    };
    let response = authorities.respond(&authorities.template(), &bare);
    assert_eq!(
        check(&response, &authorities.root_alone()).err(),
        Some(TimestampError::SignerUnknown)
    );
    let intermediates = [authorities.intermediate.clone()];
    let full = Authority {
        intermediates: &intermediates,
        signer: Some(&authorities.leaf),
        ..authorities.root_alone()
    };
    check(&response, &full).expect("holds");
}

#[test]
fn a_pinned_signer_excludes_every_other_certificate_of_the_same_root() {
    let authorities = Authorities::new(KeyType::EcP256);
    let parent = Parent {
        certificate: &authorities.intermediate,
        key: &authorities.intermediate_key,
    };
    let other_key = generate(KeyType::EcP256);
    let other =
        authority::time_stamping_leaf(other_key.public_key(), &name("other"), &envelope(9), parent)
            .expect("a leaf");
    let pinned = Authority {
        signer: Some(&other),
        ..authorities.root_alone()
    };
    assert_eq!(
        check(&authorities.response(), &pinned).err(),
        Some(TimestampError::SignerNotPinned)
    );
}

#[test]
fn an_answer_to_another_request_is_refused() {
    let authorities = Authorities::new(KeyType::EcP256);
    let (response, root) = (authorities.response(), authorities.root_alone());
    assert_eq!(
        verify(&response, &root, &Expectation::over(b"other data")).err(),
        Some(TimestampError::Imprint)
    );
    let other_nonce = Expectation {
        nonce: Some(&[0x43]),
        ..Expectation::over(DATA)
    };
    assert_eq!(
        verify(&response, &root, &other_nonce).err(),
        Some(TimestampError::Nonce)
    );
    let other_policy = Expectation {
        policy: Some(crate::ObjectIdentifier::new_unwrap("1.2.3")),
        ..Expectation::over(DATA)
    };
    assert_eq!(
        verify(&response, &root, &other_policy).err(),
        Some(TimestampError::Policy { found: policy() })
    );
}

#[test]
fn a_foreign_root_and_a_time_outside_the_validity_are_refused() {
    let authorities = Authorities::new(KeyType::EcP256);
    let stranger = Authorities::new(KeyType::EcP256);
    let outcome = check(&authorities.response(), &stranger.root_alone());
    assert!(
        matches!(outcome, Err(TimestampError::Chain(_))),
        "{outcome:?}"
    );
    let digest = sha256(DATA);
    let late = Stamp {
        gen_time: NOW + 2 * DAY,
        ..stamp(&digest)
    };
    let outcome = check(
        &authorities.respond(&authorities.template(), &late),
        &authorities.root_alone(),
    );
    let Err(TimestampError::Chain(fault)) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        matches!(*fault, Error::Chain(ChainFault::Expired { .. })),
        "{fault:?}"
    );
}

#[test]
fn a_certificate_that_is_not_for_timestamps_alone_signs_none() {
    let authorities = Authorities::new(KeyType::EcP256);
    let parent = Parent {
        certificate: &authorities.intermediate,
        key: &authorities.intermediate_key,
    };
    let server = authority::tls_server(
        authorities.key.public_key(),
        &["localhost"],
        &[],
        &envelope(4),
        parent,
    )
    .expect("a server certificate");
    let template = TokenTemplate::new(
        &[server, authorities.intermediate.clone()],
        authorities.algorithm,
        None,
    )
    .expect("a template");
    let response = authorities.respond(&template, &stamp(&sha256(DATA)));
    assert_eq!(
        check(&response, &authorities.root_alone()).err(),
        Some(TimestampError::SignerUsage)
    );
}

#[test]
fn a_signature_by_another_key_is_refused() {
    let mut authorities = Authorities::new(KeyType::EcP256);
    authorities.key = generate(KeyType::EcP256);
    let outcome = check(&authorities.response(), &authorities.root_alone());
    assert_eq!(outcome.err(), Some(TimestampError::Signature));
}

#[test]
fn the_signed_attributes_must_bind_content_and_certificate() {
    let authorities = Authorities::new(KeyType::EcP256);
    let root = authorities.root_alone();
    let digest = sha256(DATA);
    let serial = asn1::encode(tag::INTEGER, authorities.leaf.serial());
    let bend = |change: &dyn Fn(&mut TokenTemplate)| {
        let mut template = authorities.template();
        change(&mut template);
        check(&authorities.respond(&template, &stamp(&digest)), &root).err()
    };
    let refused = |attribute| Some(TimestampError::SignedAttribute { attribute });
    assert_eq!(
        bend(&|template| template.content_type.clear()),
        refused("contentType")
    );
    let wrong_type = attribute(
        names::CONTENT_TYPE,
        &asn1::encode(tag::OBJECT_IDENTIFIER, names::SIGNED_DATA.as_bytes()),
    );
    assert_eq!(
        bend(&|template| template.content_type.clone_from(&wrong_type)),
        refused("contentType")
    );
    assert_eq!(
        bend(&|template| template.signing_certificate.clear()),
        refused("signingCertificate")
    );
    let other = token::signing_certificate(&authorities.intermediate, &serial);
    assert_eq!(
        bend(&|template| template.signing_certificate.clone_from(&other)),
        refused("signingCertificateV2")
    );
    let doubled = [
        template_attribute(&authorities),
        template_attribute(&authorities),
    ]
    .concat();
    assert_eq!(
        bend(&|template| template.signing_certificate.clone_from(&doubled)),
        refused("signingCertificateV2")
    );
    let empty = attribute(names::SIGNING_CERTIFICATE_V2, &[]);
    assert_eq!(
        bend(&|template| template.signing_certificate.clone_from(&empty)),
        refused("signingCertificateV2")
    );
}

fn template_attribute(authorities: &Authorities) -> Vec<u8> {
    authorities.template().signing_certificate
}

#[test]
fn signed_attributes_have_one_order_and_the_signing_time_is_a_time() {
    let authorities = Authorities::new(KeyType::EcP256);
    let template = authorities.template();
    let digest = sha256(DATA);
    let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut token = template.prepare(&stamp(&digest)).expect("in range");
        let mut set = asn1::only(&token.signed_attributes, tag::SET)
            .expect("a set")
            .reader();
        let mut attributes = Vec::new();
        while !set.is_empty() {
            attributes.push(set.element().expect("an attribute").whole.to_vec());
        }
        change(&mut attributes);
        token.signed_attributes = asn1::encode(tag::SET, &attributes.concat());
        let signature = authorities
            .key
            .sign(authorities.algorithm, token.message())
            .expect("signs");
        check(&token.finish(&signature), &authorities.root_alone()).err()
    };
    assert_eq!(with(&|_| {}), None);
    assert_eq!(
        with(&|attributes| attributes.swap(0, 1)),
        Some(TimestampError::Malformed {
            part: "SignerInfo.signedAttrs"
        })
    );
    for value in [
        Vec::new(),
        asn1::encode(tag::UTC_TIME, b"yesterday"),
        asn1::encode(tag::UTF8_STRING, b"270115080000Z"),
        [
            asn1::encode(tag::UTC_TIME, b"270115080000Z"),
            asn1::encode(tag::UTC_TIME, b"270115080001Z"),
        ]
        .concat(),
    ] {
        let replaced = |attributes: &mut Vec<Vec<u8>>| {
            let oid = names::SIGNING_TIME;
            let named = |other: &Vec<u8>| {
                other
                    .windows(oid.as_bytes().len())
                    .any(|run| run == oid.as_bytes())
            };
            let at = attributes.iter().position(named).expect("a signing time");
            attributes[at] = attribute(oid, &value);
            attributes.sort();
        };
        assert_eq!(
            with(&replaced),
            Some(TimestampError::SignedAttribute {
                attribute: "signingTime"
            }),
            "{value:02x?}"
        );
    }
}

#[test]
fn the_digest_of_the_content_is_compared() {
    let authorities = Authorities::new(KeyType::EcP256);
    let template = authorities.template();
    let digest = sha256(DATA);
    let honest = stamp(&digest);
    let later = Stamp {
        gen_time: NOW + 60,
        ..honest
    };
    let (signed, mut token) = (
        template.prepare(&honest).expect("ok"),
        template.prepare(&later).expect("ok"),
    );
    let signature = authorities
        .key
        .sign(authorities.algorithm, signed.message())
        .expect("signs");
    // The attributes and signature of one token around the content of another.
    token.signed_attributes = signed.signed_attributes;
    let outcome = check(&token.finish(&signature), &authorities.root_alone());
    assert_eq!(
        outcome.err(),
        Some(TimestampError::SignedAttribute {
            attribute: "messageDigest"
        })
    );
}

#[test]
fn a_critical_extension_of_the_token_is_refused_and_another_passed_over() {
    let authorities = Authorities::new(KeyType::EcP256);
    let identifier = crate::ObjectIdentifier::new_unwrap("1.2.3.4");
    let with_extension = |critical: bool| {
        let template = authorities.template();
        let digest = sha256(DATA);
        let mut token = template.prepare(&stamp(&digest)).expect("in range");
        let mut content = Writer::new();
        content.sequence(|fields| {
            let info = asn1::only(&token.tst_info, tag::SEQUENCE).expect("a TSTInfo");
            fields.raw(info.value);
            fields.nested(tag::context_constructed(1), |extensions| {
                extensions.sequence(|extension| {
                    extension.oid(&identifier);
                    if critical {
                        extension.boolean(true);
                    }
                    extension.octet_string(b"");
                });
            });
        });
        token.tst_info = content.finish();
        token.signed_attributes = template.signed_attributes(
            &token.tst_info,
            &asn1::encode(tag::UTC_TIME, b"270115080000Z"),
        );
        let signature = authorities
            .key
            .sign(authorities.algorithm, token.message())
            .expect("signs");
        check(&token.finish(&signature), &authorities.root_alone())
    };
    with_extension(false).expect("holds");
    assert_eq!(
        with_extension(true).err(),
        Some(TimestampError::CriticalExtension {
            extension: identifier
        })
    );
}

#[test]
fn old_tokens_that_name_the_certificate_by_sha1_are_believed() {
    let authorities = Authorities::new(KeyType::EcP256);
    let mut template = authorities.template();
    let identified = |certificate: &Certificate| {
        let hash = sealwright_crypto::digest::sha1_identifier(certificate.der());
        let identifier = asn1::encode_sequence(&[&asn1::encode(tag::OCTET_STRING, &hash)]);
        let identifiers = asn1::encode_sequence(&[&identifier]);
        attribute(
            names::SIGNING_CERTIFICATE,
            &asn1::encode_sequence(&[&identifiers]),
        )
    };
    template.signing_certificate = identified(&authorities.leaf);
    let digest = sha256(DATA);
    check(
        &authorities.respond(&template, &stamp(&digest)),
        &authorities.root_alone(),
    )
    .expect("holds");
    template.signing_certificate = identified(&authorities.intermediate);
    let outcome = check(
        &authorities.respond(&template, &stamp(&digest)),
        &authorities.root_alone(),
    );
    assert_eq!(
        outcome.err(),
        Some(TimestampError::SignedAttribute {
            attribute: "signingCertificate"
        })
    );
}

#[test]
fn several_signers_and_none_are_refused() {
    let authorities = Authorities::new(KeyType::EcP256);
    let response = authorities.response();
    for copies in [0, 2] {
        let bent = with_signers(&response, copies);
        let outcome = check(&bent, &authorities.root_alone());
        assert_eq!(
            outcome.err(),
            Some(TimestampError::SignerCount { found: copies })
        );
    }
}

/// The response with its one SignerInfo written `copies` times.
fn with_signers(response: &[u8], copies: usize) -> Vec<u8> {
    let mut fields = asn1::only(response, tag::SEQUENCE)
        .expect("a response")
        .reader();
    let status = fields.element().expect("a status");
    let mut content_info = fields.sequence().expect("a token");
    let content_type = content_info.element().expect("a type");
    let explicit = content_info.element().expect("content");
    let mut signed_data = asn1::only(explicit.value, tag::SEQUENCE)
        .expect("signed data")
        .reader();
    let head: Vec<u8> = (0..4)
        .flat_map(|_| signed_data.element().expect("four fields").whole.to_vec())
        .collect();
    let signer_infos = signed_data.expect(tag::SET).expect("signers");
    let mut out = Writer::new();
    out.sequence(|response| {
        response.raw(status.whole);
        response.sequence(|content_info| {
            content_info.raw(content_type.whole);
            content_info.nested(tag::context_constructed(0), |explicit| {
                explicit.sequence(|signed_data| {
                    signed_data.raw(&head);
                    signed_data.tlv(tag::SET, &signer_infos.value.repeat(copies));
                });
            });
        });
    });
    out.finish()
}

#[test]
fn a_rejection_is_reported_with_its_failure_and_words() {
    let response = rejection(PkiFailureInfo::UnacceptedPolicy, "no such policy");
    let expected = TimestampError::NotGranted {
        status: 2,
        failure: Some(PkiFailureInfo::UnacceptedPolicy),
        text: "no such policy".to_owned(),
    };
    assert_eq!(inspect(&response), Err(expected.clone()));
    assert_eq!(
        expected.to_string(),
        "the timestamp authority refused: status 2, unacceptedPolicy"
    );
}

#[test]
fn no_flipped_bit_changes_what_is_believed() {
    let authorities = Authorities::new(KeyType::EcP256);
    let intermediates = [authorities.intermediate.clone()];
    let authority = Authority {
        intermediates: &intermediates,
        signer: Some(&authorities.leaf),
        ..authorities.root_alone()
    };
    let response = authorities.response();
    let honest = check(&response, &authority).expect("holds");
    for position in 0..response.len() {
        let mut bent = response.clone();
        *bent.get_mut(position).expect("in range") ^= 0x01;
        // Bytes that decide nothing may change (the embedded certificates that are not needed); what is believed may not.
        if let Ok(believed) = check(&bent, &authority) {
            assert_eq!(believed, honest, "byte {position}");
        }
    }
    for end in 0..response.len() {
        assert!(check(response.get(..end).expect("in range"), &authority).is_err());
    }
}

/// The response with other digestAlgorithms and certificates, which no signature covers.
fn with_unsigned_parts(response: &[u8], digests: &[u8], certificates: Option<&[u8]>) -> Vec<u8> {
    let mut fields = asn1::only(response, tag::SEQUENCE)
        .expect("a response")
        .reader();
    let status = fields.element().expect("a status");
    let mut content_info = fields.sequence().expect("a token");
    let content_type = content_info.element().expect("a type");
    let explicit = content_info.element().expect("content");
    let mut signed_data = asn1::only(explicit.value, tag::SEQUENCE)
        .expect("signed data")
        .reader();
    let version = signed_data.element().expect("a version");
    signed_data.set().expect("digest algorithms");
    let content = signed_data.element().expect("content");
    let own = signed_data
        .optional(tag::context_constructed(0))
        .expect("certificates")
        .map_or(&[][..], |set| set.value);
    let signer_infos = signed_data.element().expect("signers");
    let mut out = Writer::new();
    out.sequence(|response| {
        response.raw(status.whole);
        response.sequence(|content_info| {
            content_info.raw(content_type.whole);
            content_info.nested(tag::context_constructed(0), |explicit| {
                explicit.sequence(|signed_data| {
                    signed_data.raw(version.whole);
                    signed_data.tlv(tag::SET, digests);
                    signed_data.raw(content.whole);
                    signed_data.tlv(tag::context_constructed(0), certificates.unwrap_or(own));
                    signed_data.raw(signer_infos.whole);
                });
            });
        });
    });
    out.finish()
}

fn announced(algorithm: HashAlgorithm) -> Vec<u8> {
    algorithm_identifier(&hash_identifier(algorithm), false)
}

#[test]
fn the_signers_digest_is_announced() {
    let authorities = Authorities::new(KeyType::EcP256);
    let response = authorities.response();
    let (sha256, sha512) = (
        announced(HashAlgorithm::Sha256),
        announced(HashAlgorithm::Sha512),
    );
    for good in [sha256.clone(), [sha512.clone(), sha256.clone()].concat()] {
        let response = with_unsigned_parts(&response, &good, None);
        check(&response, &authorities.root_alone()).expect("holds");
    }
    for bad in [
        Vec::new(),
        sha512,
        b"\x30\x01".to_vec(),
        b"\x05\x00".to_vec(),
    ] {
        let response = with_unsigned_parts(&response, &bad, None);
        assert_eq!(
            check(&response, &authorities.root_alone()).err(),
            Some(TimestampError::Malformed {
                part: "digestAlgorithms"
            })
        );
    }
}

#[test]
fn a_token_that_brings_certificates_brings_its_signers() {
    let authorities = Authorities::new(KeyType::EcP256);
    let intermediates = [authorities.intermediate.clone()];
    let full = Authority {
        intermediates: &intermediates,
        signer: Some(&authorities.leaf),
        ..authorities.root_alone()
    };
    let sha256 = announced(HashAlgorithm::Sha256);
    let (leaf, issuer) = (authorities.leaf.der(), authorities.intermediate.der());
    for good in [Vec::new(), leaf.to_vec(), [issuer, leaf].concat()] {
        let response = with_unsigned_parts(&authorities.response(), &sha256, Some(&good));
        check(&response, &full).expect("holds");
    }
    let mut bent = leaf.to_vec();
    *bent.last_mut().expect("a signature") ^= 1;
    for bad in [issuer.to_vec(), bent] {
        let response = with_unsigned_parts(&authorities.response(), &sha256, Some(&bad));
        assert_eq!(
            check(&response, &full).err(),
            Some(TimestampError::SignerNotEmbedded)
        );
    }
}

#[test]
fn a_response_of_any_size_beyond_the_cap_is_not_parsed() {
    let huge = vec![0x30; MAX_RESPONSE_BYTES + 1];
    assert_eq!(
        inspect(&huge),
        Err(TimestampError::TooLarge {
            found: MAX_RESPONSE_BYTES + 1
        })
    );
}

#[test]
fn ed25519_and_an_empty_chain_make_no_template() {
    let authorities = Authorities::new(KeyType::EcP256);
    let template = TokenTemplate::new(&authorities.chain(), Algorithm::Ed25519, None);
    assert_eq!(
        template.err(),
        Some(TemplateError::Algorithm {
            algorithm: Algorithm::Ed25519
        })
    );
    assert_eq!(
        TokenTemplate::new(&[], authorities.algorithm, None).err(),
        Some(TemplateError::EmptyChain)
    );
}
