//! From flags to a policy: who must have signed, and how many have to vouch.

use std::path::Path;

use sealwright_sdk::bundle::policy::{SignerChosen, SubjectType};
use sealwright_sdk::bundle::{IdentityRule, Matcher, Policy, TrustedKey, WitnessPolicy};
use sealwright_sdk::crypto::PublicKey;
use sealwright_sdk::{Error, read_capped};

use crate::args::{ExpectedIdentity, VerificationArgs};
use crate::commands::own_pki;
use crate::commands::sign::MAX_KEY_BYTES;

/// More than a policy with as many keys as it may have takes.
const MAX_WITNESS_POLICY_BYTES: usize = 256 * 1024;

/// Who must have signed.
pub(crate) fn signer(args: &VerificationArgs) -> Result<SignerChosen, Error> {
    if let Some(rule) = own_pki::rule(args)? {
        return Ok(Policy::signed_by_certificate(rule));
    }
    if args.key.is_empty() {
        return Ok(Policy::signed_by_any_identity(identities(&args.identity)?)?);
    }
    let keys = args.key.iter().map(|path| public_key(path));
    let keys = keys.collect::<Result<Vec<_>, Error>>()?;
    Ok(Policy::signed_by_any_key(keys)?)
}

/// The public key in a file that `--key` names.
pub(crate) fn public_key(path: &Path) -> Result<TrustedKey, Error> {
    let refuse = |error: &dyn std::fmt::Display| Error::Input {
        what: format!("--key {}", path.display()),
        problem: format!(
            "{error}; expected a public key in PEM (BEGIN PUBLIC KEY or BEGIN RSA PUBLIC KEY)"
        ),
    };
    let pem = read_capped("key", path, MAX_KEY_BYTES)?;
    let pem = std::str::from_utf8(&pem).map_err(|error| refuse(&error))?;
    let key = PublicKey::from_pem(pem).map_err(|error| refuse(&error))?;
    Ok(TrustedKey::new(key))
}

/// How many have to vouch.
pub(crate) fn counted(policy: Policy, args: &VerificationArgs) -> Result<Policy, Error> {
    let thresholds = &args.thresholds;
    let mut policy = policy;
    if let Some(logs) = thresholds.logs() {
        policy = policy.log_threshold(logs);
    }
    if let Some(times) = thresholds.time_threshold {
        policy = policy.time_threshold(times);
    }
    if let Some(authorities) = thresholds.timestamp_threshold {
        policy = policy.timestamp_authority_threshold(authorities);
    }
    if let Some(logs) = thresholds.certificate_logs() {
        policy = policy.certificate_log_threshold(logs);
    }
    if thresholds.sct_distinct_operators {
        policy = policy.distinct_certificate_log_operators();
    }
    if args.allow_certificate_chain {
        policy = policy.allow_certificate_chain();
    }
    if let Some(path) = &thresholds.witness_policy {
        let file = read_capped("witness policy", path, MAX_WITNESS_POLICY_BYTES)?;
        let witnesses = WitnessPolicy::parse(&file).map_err(|error| Error::Input {
            what: format!("--witness-policy {}", path.display()),
            problem: error.to_string(),
        })?;
        policy = policy.witnesses(witnesses);
    }
    Ok(policy)
}

/// The identities of which any will do. The parser has made sure that there is one, and an issuer.
fn identities(args: &ExpectedIdentity) -> Result<Vec<IdentityRule>, Error> {
    let kind = subject_kind(args)?;
    pairs(subjects(args)?, issuers(args)?)?
        .into_iter()
        .map(|(subject, issuer)| {
            let mut rule = IdentityRule::new(subject, issuer);
            if let Some(kind) = kind {
                rule = rule.of_type(kind);
            }
            for (name, value) in args.extensions() {
                rule = rule.with_extension(name, Matcher::exact(value)?)?;
            }
            Ok(rule)
        })
        .collect()
}

/// What the flags say about the subject alternative name; any of them will do.
pub(crate) fn subjects(args: &ExpectedIdentity) -> Result<Vec<Matcher>, Error> {
    matchers([
        (&args.certificate_identity, Matcher::exact),
        (&args.certificate_identity_regexp, pattern),
        (&args.certificate_identity_glob, glob),
    ])
}

/// What the flags say about the identity provider.
pub(crate) fn issuers(args: &ExpectedIdentity) -> Result<Vec<Matcher>, Error> {
    matchers([
        (&args.certificate_oidc_issuer, Matcher::exact),
        (&args.certificate_oidc_issuer_regexp, pattern),
        (&Vec::new(), pattern),
    ])
}

/// The type that the subject alternative name must be of.
pub(crate) fn subject_kind(args: &ExpectedIdentity) -> Result<Option<SubjectType>, Error> {
    let kind = args.certificate_identity_type.as_deref();
    kind.map(subject_type).transpose()
}

type Reader = fn(String) -> Result<Matcher, sealwright_sdk::bundle::VerifyError>;

fn matchers(flags: [(&Vec<String>, Reader); 3]) -> Result<Vec<Matcher>, Error> {
    let read = flags
        .iter()
        .flat_map(|(texts, read)| texts.iter().map(|text| read(text.clone())));
    Ok(read.collect::<Result<Vec<_>, _>>()?)
}

fn pattern(text: String) -> Result<Matcher, sealwright_sdk::bundle::VerifyError> {
    Matcher::pattern(&text)
}

fn glob(text: String) -> Result<Matcher, sealwright_sdk::bundle::VerifyError> {
    Matcher::glob(&text)
}

/// Every subject with its issuer. Any other number of issuers would leave open which of them speaks for whom, and whoever
/// the wrong one vouches for would pass.
fn pairs(subjects: Vec<Matcher>, issuers: Vec<Matcher>) -> Result<Vec<(Matcher, Matcher)>, Error> {
    if let [only] = issuers.as_slice() {
        let pair = |subject| (subject, only.clone());
        return Ok(subjects.into_iter().map(pair).collect());
    }
    if subjects.len() == issuers.len() {
        return Ok(subjects.into_iter().zip(issuers).collect());
    }
    Err(Error::Input {
        what: format!(
            "{} issuers for {} identities",
            issuers.len(),
            subjects.len()
        ),
        problem: "expected one issuer for all, or one for each identity in the same order".into(),
    })
}

fn subject_type(name: &str) -> Result<SubjectType, Error> {
    SubjectType::by_name(name).ok_or_else(|| Error::Input {
        what: format!("--certificate-identity-type {name:?}"),
        problem: "expected email, uri, dns or username".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(texts: &[&str]) -> Vec<Matcher> {
        let matcher = |text: &&str| Matcher::exact(*text).expect("a text");
        texts.iter().map(matcher).collect()
    }

    fn paired(subjects: &[&str], issuers: &[&str]) -> Option<Vec<String>> {
        let pairs = pairs(exact(subjects), exact(issuers)).ok()?;
        let shown = pairs
            .into_iter()
            .map(|(subject, issuer)| format!("{subject}@{issuer}"));
        Some(shown.collect())
    }

    #[test]
    fn an_issuer_speaks_for_all_or_for_its_own() {
        let text = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(paired(&["a", "b"], &["i"]), text(&["a@i", "b@i"]));
        assert_eq!(paired(&["a", "b"], &["i", "j"]), text(&["a@i", "b@j"]));
        assert_eq!(paired(&["a"], &["i", "j"]), None);
        assert_eq!(paired(&["a", "b", "c"], &["i", "j"]), None);
    }

    #[test]
    fn types_have_names() {
        assert_eq!(subject_type("uri").expect("known"), SubjectType::Uri);
        assert!(subject_type("URL").is_err());
    }
}
