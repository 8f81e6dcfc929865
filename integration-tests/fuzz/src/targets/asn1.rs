//! Certificates, keys, requests and timestamps.

use std::sync::LazyLock;

use sealwright_bundle::TrustedRoot;
use sealwright_crypto::{KeyType, PrivateKey, PublicKey};
use sealwright_pki::certificate::parse_general_names;
use sealwright_pki::request::DEFAULT_PERMITTED_ALGORITHMS;
use sealwright_pki::timestamp::{self, Authority, Expectation, TimeStampReq, inspect};
use sealwright_pki::{
    Certificate, CertificateRequest, Identity, Purpose, SubjectAlternativeName, oid,
    parse_pem_chain, sct, verify_chain, verify_precertificate_chain,
};
use sealwright_testkit::bundle_factory::NOW;
use x509_cert::der::{Decode as _, Encode as _};

use super::{Target, outcome, text};
use crate::corpus;
use crate::mutate::Format;
use crate::seeds::ARTIFACT;

pub(super) const CERTIFICATE: Target = Target {
    name: "certificate",
    format: Format::Der,
    dictionary: &[
        "-----BEGIN CERTIFICATE-----\n",
        "-----END CERTIFICATE-----\n",
    ],
    cases: 6000,
    peak_factor: 64,
    check: certificate,
};
pub(super) const SPKI: Target = Target {
    name: "spki",
    format: Format::Der,
    dictionary: &["-----BEGIN PUBLIC KEY-----\n", "-----END PUBLIC KEY-----\n"],
    cases: 6000,
    peak_factor: 32,
    check: spki,
};
pub(super) const CSR: Target = Target {
    name: "csr",
    format: Format::Der,
    dictionary: &["-----BEGIN NEW CERTIFICATE REQUEST-----\n"],
    cases: 5000,
    peak_factor: 32,
    check: csr,
};
pub(super) const PRIVATE_KEY: Target = Target {
    name: "private_key",
    format: Format::Der,
    dictionary: &[
        "-----BEGIN EC PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\n",
        "-----BEGIN EC PARAMETERS-----\n",
    ],
    cases: 2500,
    peak_factor: 64,
    check: private_key,
};
pub(super) const TIMESTAMP_REQUEST: Target = Target {
    name: "timestamp_request",
    format: Format::Der,
    dictionary: &[],
    cases: 10_000,
    peak_factor: 32,
    check: timestamp_request,
};
pub(super) const TIMESTAMP_TOKEN: Target = Target {
    name: "timestamp_token",
    format: Format::Der,
    dictionary: &["20261124120000.5Z", "20261124120000Z"],
    cases: 5000,
    peak_factor: 64,
    check: timestamp_token,
};

/// Authorities of the corpus.
static TRUST: LazyLock<TrustedRoot> = LazyLock::new(|| {
    TrustedRoot::parse(&corpus::seed("trusted_root", "world.json")).expect("the corpus is coherent")
});

/// What the authorities of the corpus have signed.
static SIGNED_TBS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let seeds = corpus::read(&corpus::seeds_of("certificate")).expect("the corpus is readable");
    let certificates = seeds
        .into_iter()
        .filter_map(|seed| Certificate::from_der(seed.bytes).ok());
    certificates
        .map(|certificate| certificate.tbs_der().to_vec())
        .collect()
});

fn certificate(input: &[u8]) -> String {
    if input.starts_with(b"-----") {
        return outcome(parse_pem_chain(&text(input)), |chain| {
            let again = parse_pem_chain(&sealwright_pki::pem_chain(&chain))
                .expect("what was written is read");
            assert_eq!(chain, again, "PEM changes certificates");
            format!("{} certificates", chain.len().min(3))
        });
    }
    outcome(Certificate::from_der(input), |certificate| {
        assert_eq!(certificate.der(), input, "the bytes are kept");
        let stranger = agree_with_stranger(&certificate);
        let names = names(&certificate);
        let timestamps = timestamps(&certificate);
        let path = path(&certificate);
        let key = certificate.public_key().map(PublicKey::key_type);
        let key = crate::behaviour::of(&key);
        format!("{key} {stranger} {names} {timestamps} {path}")
    })
}

/// The fields that decide on trust, as another parser reads them.
fn agree_with_stranger(certificate: &Certificate) -> String {
    let read = match x509_cert::Certificate::from_der(certificate.der()) {
        Ok(read) => read,
        Err(error) => return format!("stranger refuses: {}", crate::behaviour::of(&error.kind())),
    };
    let tbs = read.tbs_certificate();
    let der = |field: Result<Vec<u8>, _>| field.expect("what was read can be written");
    assert_eq!(
        der(tbs.issuer().to_der()),
        certificate.issuer_der(),
        "issuer"
    );
    assert_eq!(
        der(tbs.subject().to_der()),
        certificate.subject_der(),
        "subject"
    );
    assert_eq!(
        der(tbs.subject_public_key_info().to_der()),
        certificate.spki_der(),
        "key"
    );
    assert_eq!(
        tbs.serial_number().as_bytes(),
        certificate.serial(),
        "serial number"
    );
    let seconds = |time: &x509_cert::time::Time| {
        i64::try_from(time.to_unix_duration().as_secs()).expect("a date")
    };
    // The stranger knows no dates before 1970 and refuses them.
    assert_eq!(
        seconds(&tbs.validity().not_before),
        certificate.not_before(),
        "notBefore"
    );
    assert_eq!(
        seconds(&tbs.validity().not_after),
        certificate.not_after(),
        "notAfter"
    );
    let theirs = tbs.extensions().into_iter().flatten();
    let theirs = theirs.map(|extension| {
        (
            extension.extn_id.to_string(),
            extension.critical,
            extension.extn_value.as_bytes().to_vec(),
        )
    });
    let ours = certificate.extensions();
    let ours = ours.map(|extension| {
        (
            extension.oid.to_string(),
            extension.critical,
            extension.value.to_vec(),
        )
    });
    assert!(theirs.eq(ours), "extensions");
    assert_eq!(
        read.signature().raw_bytes(),
        certificate.signature(),
        "signature"
    );
    "stranger agrees".to_owned()
}

fn names(certificate: &Certificate) -> String {
    for shown in [certificate.subject(), certificate.issuer()] {
        assert!(
            !shown.chars().any(char::is_control),
            "a name is shown with control characters: {shown:?}"
        );
    }
    if let Ok(name) = SubjectAlternativeName::from_certificate(certificate) {
        let again =
            parse_general_names(&name.to_extension_value()).expect("what is written is read");
        assert_eq!(
            again.as_slice(),
            certificate.subject_alt_names(),
            "{name:?} is written as another name"
        );
    }
    let identity = Identity::from_certificate(certificate);
    if let Ok(identity) = &identity {
        assert!(
            !identity.issuer.chars().any(char::is_control),
            "{identity:?}"
        );
    }
    crate::behaviour::of(&identity.map(|identity| identity.subject_alternative_name.kind()))
}

fn timestamps(certificate: &Certificate) -> String {
    let embedded = sct::embedded_scts(certificate);
    if let Ok(list) = &embedded {
        let extension = certificate.extension(&oid::SCT_LIST).expect("it was read");
        let again = sct::encode_list_extension(list).expect("what was read can be written");
        assert_eq!(
            again, extension.value,
            "the list of timestamps has one encoding"
        );
    }
    let tbs = sct::precertificate_tbs(certificate.tbs_der());
    if let Ok(tbs) = &tbs {
        assert!(
            tbs.len() <= certificate.tbs_der().len(),
            "removing makes longer"
        );
    }
    format!(
        "{} {}",
        crate::behaviour::of(&embedded.map(|list| list.len().min(2))),
        tbs.is_ok()
    )
}

/// Nobody but the authorities makes a path: what verifies is, to the byte, what they signed.
fn path(certificate: &Certificate) -> String {
    let authorities = TRUST
        .certificate_authorities()
        .iter()
        .chain(TRUST.timestamp_authorities());
    let authorities: Vec<Certificate> = authorities
        .flat_map(|authority| authority.chain().to_vec())
        .collect();
    let mut said = String::new();
    for purpose in [Purpose::CodeSigning, Purpose::TimeStamping] {
        let (anchors, others): (Vec<_>, Vec<_>) = authorities
            .iter()
            .cloned()
            .partition(Certificate::is_self_issued);
        let verified = verify_chain(certificate, &others, &anchors, NOW + 1, purpose);
        if verified.is_ok() {
            assert!(
                SIGNED_TBS.iter().any(|tbs| tbs == certificate.tbs_der()),
                "a path for what nobody signed"
            );
        }
        said += &crate::behaviour::of(&verified.map(|path| path.certificates().len()));
        assert!(
            verify_precertificate_chain(certificate, &others, &anchors, NOW + 1, purpose).is_err(),
            "no seed is a precertificate"
        );
    }
    // As an anchor and an intermediate of its own path the certificate is hostile too.
    let own = std::slice::from_ref(certificate);
    let _ = verify_chain(certificate, own, own, NOW + 1, Purpose::CodeSigning);
    let leaf = SIGNED_LEAF.as_ref();
    if let Some(leaf) = leaf {
        let _ = verify_chain(leaf, own, own, NOW + 1, Purpose::CodeSigning);
    }
    said
}

static SIGNED_LEAF: LazyLock<Option<Certificate>> =
    LazyLock::new(|| Certificate::from_der(corpus::seed("certificate", "leaf-email.der")).ok());

fn spki(input: &[u8]) -> String {
    let read = if input.starts_with(b"-----") {
        PublicKey::from_pem(&text(input))
    } else {
        let read = PublicKey::from_spki_der(input);
        if let Ok(key) = &read {
            assert_eq!(key.spki_der(), input, "the bytes are kept");
            let theirs = x509_cert::spki::SubjectPublicKeyInfoRef::from_der(input)
                .expect("the stranger reads it");
            assert_eq!(theirs.subject_public_key.as_bytes(), Some(key.raw()), "key");
        }
        read
    };
    outcome(read, |key| {
        let rebuilt = match key.key_type() {
            KeyType::Rsa { .. } => key
                .rsa_components()
                .map(|(n, e)| PublicKey::from_rsa_components(n, e)),
            KeyType::Ed25519 => key
                .ed25519_raw()
                .map(|raw| PublicKey::from_ed25519_raw(&raw)),
            curve => key
                .ec_point()
                .map(|point| PublicKey::from_ec_point(curve, point)),
        };
        let rebuilt = rebuilt
            .expect("a key has parts")
            .expect("parts make the key");
        assert_eq!(rebuilt.raw(), key.raw(), "a key made of its parts");
        assert_eq!(PublicKey::from_pem(&key.to_pem()).as_ref(), Ok(&key), "PEM");
        assert!(
            key.verify(key.default_algorithm(), ARTIFACT, &[0; 64])
                .is_err(),
            "zeros sign"
        );
        crate::behaviour::of(&key.key_type())
    })
}

fn csr(input: &[u8]) -> String {
    let pem = input.starts_with(b"-----");
    let read = if pem {
        CertificateRequest::from_pem(&text(input))
    } else {
        CertificateRequest::from_der(input)
    };
    outcome(read, |request| {
        let stranger = (!pem).then(|| x509_cert::request::CertReq::from_der(input));
        if let Some(Ok(stranger)) = &stranger {
            let key = stranger
                .info
                .public_key
                .to_der()
                .expect("what was read can be written");
            assert_eq!(key, request.public_key().spki_der(), "key");
        }
        let verified = request.verify(&DEFAULT_PERMITTED_ALGORITHMS);
        format!(
            "{} {:?}",
            crate::behaviour::of(&verified),
            stranger.map(|read| read.is_ok())
        )
    })
}

fn private_key(input: &[u8]) -> String {
    let read = if input.starts_with(b"-----") {
        PrivateKey::from_pem(&text(input))
    } else {
        PrivateKey::from_pkcs8_der(input)
    };
    outcome(read, |key| {
        let again = PrivateKey::from_pem(&key.to_pkcs8_pem()).expect("what was written is read");
        assert_eq!(
            again.public_key(),
            key.public_key(),
            "another key is written"
        );
        let algorithm = key.key_type().default_algorithm();
        let signature = key
            .sign(algorithm, ARTIFACT)
            .expect("a key that was taken signs");
        key.public_key()
            .verify(algorithm, ARTIFACT, &signature)
            .expect("its public half verifies");
        crate::behaviour::of(&key.key_type())
    })
}

fn timestamp_request(input: &[u8]) -> String {
    outcome(TimeStampReq::parse(input), |request| {
        let der = request.to_der();
        let again = TimeStampReq::parse(&der).expect("what was written is read");
        assert_eq!(
            again,
            TimeStampReq {
                extension: None,
                extensions: None,
                ..request
            },
            "another request is written"
        );
        assert_eq!(again.to_der(), der, "one request, one encoding");
        format!(
            "{:?} {} {} {}",
            request.message_imprint.hash_algorithm(),
            request.req_policy.is_some(),
            request.nonce.map_or(0, <[u8]>::len).min(9),
            crate::behaviour::of(&request.extension.map(|extension| extension.critical)),
        )
    })
}

/// Times that the corpus's authority has signed over the artifact.
const SIGNED_TIMES: [i64; 2] = [NOW, NOW + 1];

fn timestamp_token(input: &[u8]) -> String {
    let seen = inspect(input);
    let Some(authority) = TRUST.timestamp_authorities().first() else {
        return "no authority".to_owned();
    };
    let (roots, intermediates): (Vec<_>, Vec<_>) = authority
        .chain()
        .iter()
        .cloned()
        .partition(Certificate::is_self_issued);
    let authority = Authority {
        roots: &roots,
        intermediates: &intermediates,
        signer: None,
    };
    let verified = timestamp::verify(input, &authority, &Expectation::over(ARTIFACT));
    if let Ok(verified) = &verified {
        assert!(
            SIGNED_TIMES.contains(&verified.gen_time()),
            "a time that nobody signed"
        );
        assert_eq!(
            seen.as_ref(),
            Ok(verified.timestamp()),
            "what is shown is what is verified"
        );
    }
    outcome(verified, |_| String::new())
}
