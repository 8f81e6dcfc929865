//! Whom and what a verifier accepts.
//!
//! A policy is built in two moves that the types enforce: first the signer
//! ([`Policy::signed_by_identity`], [`Policy::signed_by_key`]), then the content
//! ([`SignerChosen::blob`], [`SignerChosen::attestation`]). There is no policy without a signer.

use regex::{Regex, RegexBuilder};
use sealwright_crypto::PublicKey;
use sealwright_pki::profile::ExtensionRow;

use crate::error::VerifyError;
use crate::own_pki::CertificateRule;
use crate::statement::COSIGN_CUSTOM;
use crate::trusted_root::Validity;

/// Bytes of memory that one compiled pattern may take.
const MAX_PATTERN_SIZE: usize = 1 << 20;
/// Bytes of text in one pattern.
const MAX_PATTERN_TEXT: usize = 4096;

/// A condition on one text. Comparison is by bytes: case, escapes and slashes count.
#[derive(Debug, Clone)]
pub struct Matcher(Condition);

#[derive(Debug, Clone)]
enum Condition {
    Exact(String),
    Pattern(Regex, String),
}

impl Matcher {
    /// This text and no other.
    ///
    /// # Errors
    /// An empty text would match certificates that name nobody: [`VerifyError::PolicyInvalid`].
    pub fn exact(text: impl Into<String>) -> Result<Self, VerifyError> {
        let text = text.into();
        if text.is_empty() {
            return Err(invalid("an empty identity or issuer".into()));
        }
        Ok(Self(Condition::Exact(text)))
    }

    /// Texts that the regular expression matches from the first to the last character.
    ///
    /// The expression is anchored: a pattern meant for one organisation must not be satisfied by a
    /// text that merely contains it, such as a query string on somebody else's host.
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] when it does not compile or is too large.
    pub fn pattern(pattern: &str) -> Result<Self, VerifyError> {
        if pattern.is_empty() || pattern.len() > MAX_PATTERN_TEXT {
            return Err(invalid(format!(
                "a pattern of {} bytes; 1 to {MAX_PATTERN_TEXT} are accepted",
                pattern.len()
            )));
        }
        // Compiled alone first: "a)|(b" only becomes an expression once it is wrapped, and escapes the anchors.
        compile(pattern)?;
        let anchored = compile(&format!(r"\A(?:{pattern})\z"))?;
        Ok(Self(Condition::Pattern(anchored, pattern.to_owned())))
    }

    /// Whether `text` satisfies the condition.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Condition::Exact(expected) => expected == text,
            Condition::Pattern(regex, _) => regex.is_match(text),
        }
    }
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Condition::Exact(text) => f.write_str(text),
            Condition::Pattern(_, pattern) => write!(f, "/{pattern}/"),
        }
    }
}

/// One acceptable signer of keyless signatures. All conditions must hold.
#[derive(Debug, Clone)]
pub struct IdentityRule {
    pub(crate) subject: Matcher,
    pub(crate) issuer: Matcher,
    pub(crate) extensions: Vec<(&'static ExtensionRow, Matcher)>,
}

impl IdentityRule {
    /// A subject (e-mail address, URI, ...) as vouched for by an identity provider.
    #[must_use]
    pub fn new(subject: Matcher, issuer: Matcher) -> Self {
        Self {
            subject,
            issuer,
            extensions: Vec::new(),
        }
    }

    /// The common case: both texts exactly.
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] when either is empty.
    pub fn exact(
        subject: impl Into<String>,
        issuer: impl Into<String>,
    ) -> Result<Self, VerifyError> {
        Ok(Self::new(Matcher::exact(subject)?, Matcher::exact(issuer)?))
    }

    /// Also asks for a certificate extension with a matching value, by its name in the profile:
    /// `runnerEnvironment` or `runner-environment`.
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] when the profile has no such extension.
    pub fn with_extension(mut self, name: &str, value: Matcher) -> Result<Self, VerifyError> {
        let row = ExtensionRow::by_name(name)
            .ok_or_else(|| invalid(format!("unknown certificate extension {name:?}")))?;
        self.extensions.push((row, value));
        Ok(self)
    }
}

impl std::fmt::Display for IdentityRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (issuer {})", self.subject, self.issuer)
    }
}

/// A public key that the verifier holds, and when it counts.
#[derive(Debug, Clone)]
pub struct TrustedKey {
    pub(crate) key: PublicKey,
    pub(crate) validity: Validity,
}

impl TrustedKey {
    /// A key that always counts.
    #[must_use]
    pub fn new(key: PublicKey) -> Self {
        Self {
            key,
            validity: Validity::ALWAYS,
        }
    }

    /// A key that counts in a window only; verified times outside it are refused.
    #[must_use]
    pub fn valid_for(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }
}

/// Which statements count as the attestation that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PredicateTypes {
    /// Any type; the verdict says which it was.
    Any,
    /// One of these, compared as text.
    OneOf(Vec<String>),
}

impl PredicateTypes {
    /// What `verify-blob-attestation` accepts when no type is named: cosign's own default.
    #[must_use]
    pub fn cosign_default() -> Self {
        Self::OneOf(vec![COSIGN_CUSTOM.into()])
    }

    pub(crate) fn accept(&self, found: &str) -> Result<(), VerifyError> {
        match self {
            Self::Any => Ok(()),
            Self::OneOf(types) if types.iter().any(|accepted| accepted == found) => Ok(()),
            Self::OneOf(types) => Err(VerifyError::PredicateType {
                found: found.to_owned(),
                expected: types.clone(),
            }),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Signers {
    Identities(Vec<IdentityRule>),
    Keys(Vec<TrustedKey>),
    Certificates(Box<CertificateRule>),
}

#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A message signature, or a statement whose type says that it is nothing but a signature.
    Blob,
    Attestation(PredicateTypes),
    Either(PredicateTypes),
}

/// The first half of a policy: who may have signed.
#[derive(Debug, Clone)]
pub struct SignerChosen(Signers);

impl SignerChosen {
    /// Accepts signatures over a file or blob. Statements are refused, but for cosign's
    /// signature in statement form (predicate type [`crate::statement::COSIGN_SIGN`]).
    #[must_use]
    pub fn blob(self) -> Policy {
        self.with(Content::Blob)
    }

    /// Accepts statements of the given types, and no bare signatures.
    #[must_use]
    pub fn attestation(self, types: PredicateTypes) -> Policy {
        self.with(Content::Attestation(types))
    }

    /// Accepts bare signatures and statements of the given types.
    #[must_use]
    pub fn blob_or_attestation(self, types: PredicateTypes) -> Policy {
        self.with(Content::Either(types))
    }

    fn with(self, content: Content) -> Policy {
        let certificate_logs = usize::from(matches!(self.0, Signers::Identities(_)));
        let times = certificate_logs;
        Policy {
            signers: self.0,
            content,
            log_threshold: 1,
            time_threshold: times,
            timestamp_authority_threshold: 0,
            certificate_log_threshold: certificate_logs,
            certificate_chain_allowed: false,
        }
    }
}

/// Whom and what a verifier accepts, and how many independent witnesses it wants.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) signers: Signers,
    pub(crate) content: Content,
    pub(crate) log_threshold: usize,
    pub(crate) time_threshold: usize,
    pub(crate) timestamp_authority_threshold: usize,
    pub(crate) certificate_log_threshold: usize,
    pub(crate) certificate_chain_allowed: bool,
}

impl Policy {
    /// Keyless signatures of one signer.
    #[must_use]
    pub fn signed_by_identity(rule: IdentityRule) -> SignerChosen {
        SignerChosen(Signers::Identities(vec![rule]))
    }

    /// Keyless signatures of any of these signers.
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] without a rule.
    pub fn signed_by_any_identity(rules: Vec<IdentityRule>) -> Result<SignerChosen, VerifyError> {
        if rules.is_empty() {
            return Err(invalid("no identity".into()));
        }
        Ok(SignerChosen(Signers::Identities(rules)))
    }

    /// Signatures by this key.
    #[must_use]
    pub fn signed_by_key(key: TrustedKey) -> SignerChosen {
        SignerChosen(Signers::Keys(vec![key]))
    }

    /// Signatures by any of these keys.
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] without a key.
    pub fn signed_by_any_key(keys: Vec<TrustedKey>) -> Result<SignerChosen, VerifyError> {
        if keys.is_empty() {
            return Err(invalid("no key".into()));
        }
        Ok(SignerChosen(Signers::Keys(keys)))
    }

    /// Signatures with a certificate of an organisation's own PKI. No certificate log is asked for, and no verified time
    /// as long as the rule can do without.
    #[must_use]
    pub fn signed_by_certificate(rule: CertificateRule) -> SignerChosen {
        SignerChosen(Signers::Certificates(Box::new(rule)))
    }

    /// How many logs of distinct operators must hold the signature. Default 1; entries that are
    /// present are verified even at 0.
    #[must_use]
    pub fn log_threshold(mut self, logs: usize) -> Self {
        self.log_threshold = logs;
        self
    }

    /// How many verified times are needed, whatever their source. Default 1 for identities, 0 for
    /// keys. A short-lived certificate cannot be verified without any: 0 counts as 1 there.
    #[must_use]
    pub fn time_threshold(mut self, times: usize) -> Self {
        self.time_threshold = times;
        self
    }

    /// How many timestamp authorities of distinct operators must vouch for the time. Default 0:
    /// the time threshold may be met by other sources.
    #[must_use]
    pub fn timestamp_authority_threshold(mut self, authorities: usize) -> Self {
        self.timestamp_authority_threshold = authorities;
        self
    }

    /// How many certificate logs must hold the certificate. Default 1 for identities.
    #[must_use]
    pub fn certificate_log_threshold(mut self, logs: usize) -> Self {
        self.certificate_log_threshold = logs;
        self
    }

    /// Accepts v0.3 bundles with a certificate chain, for authorities whose intermediates are not
    /// in the trusted root. Never roots: those come from the trusted root alone.
    #[must_use]
    pub fn allow_certificate_chain(mut self) -> Self {
        self.certificate_chain_allowed = true;
        self
    }
}

fn compile(pattern: &str) -> Result<Regex, VerifyError> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_PATTERN_SIZE)
        .build()
        .map_err(|error| invalid(format!("pattern {pattern:?}: {error}")))
}

fn invalid(what: String) -> VerifyError {
    VerifyError::PolicyInvalid { what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts_only() {
        let matcher = Matcher::pattern(r"https://github\.com/org/.*|b").expect("pattern");
        assert!(matcher.matches("https://github.com/org/repo"));
        assert!(matcher.matches("b"));
        for text in [
            "https://evil.example/?x=https://github.com/org/repo",
            "bb",
            "b\n",
            "",
            "https://githubxcom/org/a",
        ] {
            assert!(!matcher.matches(text), "{text:?}");
        }
    }

    #[test]
    fn a_pattern_cannot_escape_its_anchors() {
        for pattern in ["a)|(b", "a)|(?:b", "(", "[", "(?x)a # comment", ""] {
            let error = Matcher::pattern(pattern).err();
            assert_eq!(
                error.as_ref().map(VerifyError::code),
                Some("POLICY_INVALID"),
                "{pattern:?}"
            );
        }
        let multi_line = Matcher::pattern("(?m)^a$").expect("pattern");
        assert!(!multi_line.matches("a\nb") && multi_line.matches("a"));
    }

    #[test]
    fn oversized_patterns_are_refused() {
        assert!(Matcher::pattern(&"a".repeat(MAX_PATTERN_TEXT + 1)).is_err());
        assert!(Matcher::pattern(r"(?:\w{500}){500}").is_err());
    }

    #[test]
    fn nobody_is_not_a_signer() {
        assert!(IdentityRule::exact("", "https://issuer").is_err());
        assert!(IdentityRule::exact("a@example.com", "").is_err());
        assert!(Policy::signed_by_any_identity(Vec::new()).is_err());
        assert!(Policy::signed_by_any_key(Vec::new()).is_err());
    }

    #[test]
    fn exact_texts_are_compared_by_bytes() {
        let matcher = Matcher::exact("a.b@example.com").expect("text");
        assert!(matcher.matches("a.b@example.com"));
        assert!(!matcher.matches("axb@example.com") && !matcher.matches("A.b@example.com"));
    }
}
