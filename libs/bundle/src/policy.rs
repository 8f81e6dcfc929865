//! Whom and what a verifier accepts.
//!
//! A policy is built in two moves that the types enforce: first the signer
//! ([`Policy::signed_by_identity`], [`Policy::signed_by_key`]), then the content
//! ([`SignerChosen::blob`], [`SignerChosen::attestation`]). There is no policy without a signer.

use regex::{Regex, RegexBuilder};
use sealwright_crypto::PublicKey;
use sealwright_pki::ObjectIdentifier;
use sealwright_pki::profile::{self, SubjectAlternativeName};
use sealwright_tlog::WitnessPolicy;

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
    Glob(Regex, String),
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

    /// Texts that the glob matches from the first to the last character: `*` stands for any characters but the separators of
    /// a URI or address (`/`, `?`, `#`, `@`), `**` for any characters, `?` for one that is no separator. Everything else stands
    /// for itself; there are no escapes.
    ///
    /// The separators are shut out so that `https://*.example.com/x` is not satisfied by `https://evil.example?.example.com/x`.
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] when it is empty, too large, or has three stars in a row, which could mean either.
    pub fn glob(glob: &str) -> Result<Self, VerifyError> {
        if glob.is_empty() || glob.len() > MAX_PATTERN_TEXT {
            return Err(invalid(format!(
                "a glob of {} bytes; 1 to {MAX_PATTERN_TEXT} are accepted",
                glob.len()
            )));
        }
        if glob.contains("***") {
            return Err(invalid(format!(
                "glob {glob:?}: three stars in a row; * and ** are accepted"
            )));
        }
        let regex = compile(&format!(r"(?s)\A{}\z", glob_pattern(glob)))?;
        Ok(Self(Condition::Glob(regex, glob.to_owned())))
    }

    /// Whether `text` satisfies the condition.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Condition::Exact(expected) => expected == text,
            Condition::Pattern(regex, _) | Condition::Glob(regex, _) => regex.is_match(text),
        }
    }
}

impl std::fmt::Display for Matcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Condition::Exact(text) => f.write_str(text),
            Condition::Pattern(_, pattern) => write!(f, "/{pattern}/"),
            Condition::Glob(_, glob) => write!(f, "{glob} (glob)"),
        }
    }
}

/// The type of a subject alternative name (RFC 5280 section 4.2.1.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubjectType {
    /// An e-mail address, rfc822Name.
    Email,
    /// A uniformResourceIdentifier: workflows, SPIFFE identities, service accounts.
    Uri,
    /// A host, dNSName.
    Dns,
    /// `username!domain`, otherName 1.3.6.1.4.1.57264.1.7.
    Username,
}

impl SubjectType {
    /// All of them, by the names that people use.
    pub const NAMES: [(&'static str, Self); 4] = [
        ("email", Self::Email),
        ("uri", Self::Uri),
        ("dns", Self::Dns),
        ("username", Self::Username),
    ];

    /// The type with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, kind)| *kind)
    }

    fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, kind)| *kind == self);
        found.map_or("", |(name, _)| name)
    }

    pub(crate) fn is_of(self, name: &SubjectAlternativeName) -> bool {
        name.kind() == self.name()
    }
}

impl std::fmt::Display for SubjectType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One acceptable signer of keyless signatures. All conditions must hold.
#[derive(Debug, Clone)]
pub struct IdentityRule {
    pub(crate) subject: Matcher,
    pub(crate) subject_type: Option<SubjectType>,
    pub(crate) issuer: Matcher,
    pub(crate) extensions: Vec<ExtensionRule>,
}

/// A certificate extension and what its text must be.
#[derive(Debug, Clone)]
pub(crate) struct ExtensionRule {
    /// As the policy's author wrote it.
    pub(crate) name: String,
    pub(crate) oid: ObjectIdentifier,
    pub(crate) value: Matcher,
}

impl ExtensionRule {
    pub(crate) fn named(name: &str, value: Matcher) -> Result<Self, VerifyError> {
        let oid = profile::extension_oid(name).ok_or_else(|| {
            invalid(format!(
                "unknown certificate extension {name:?}; a name of the profile or a dotted object identifier is accepted"
            ))
        })?;
        let name = name.to_owned();
        Ok(Self { name, oid, value })
    }
}

impl IdentityRule {
    /// A subject (e-mail address, URI, ...) as vouched for by an identity provider.
    #[must_use]
    pub fn new(subject: Matcher, issuer: Matcher) -> Self {
        Self {
            subject,
            subject_type: None,
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

    /// Also asks for the subject to be of this type: one text can be an e-mail address, a user name and a URI, of three
    /// different subjects.
    #[must_use]
    pub fn of_type(mut self, subject_type: SubjectType) -> Self {
        self.subject_type = Some(subject_type);
        self
    }

    /// Also asks for a certificate extension with a matching text: by its name in the profile (`runnerEnvironment` or
    /// `runner-environment`), or by any object identifier in dotted form (`1.3.6.1.4.1.57264.1.11`).
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] when it is neither.
    pub fn with_extension(mut self, name: &str, value: Matcher) -> Result<Self, VerifyError> {
        self.extensions.push(ExtensionRule::named(name, value)?);
        Ok(self)
    }
}

impl std::fmt::Display for IdentityRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.subject_type {
            Some(kind) => write!(f, "{kind} {} (issuer {})", self.subject, self.issuer)?,
            None => write!(f, "{} (issuer {})", self.subject, self.issuer)?,
        }
        for extension in &self.extensions {
            write!(f, ", {} = {}", extension.name, extension.value)?;
        }
        Ok(())
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
    /// An envelope of one of these payload types, whose bytes are handed out unread.
    RawEnvelope(Vec<String>),
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

    /// Accepts DSSE envelopes of these payload types and hands their payload out as bytes
    /// ([`crate::Verified::raw_payload`]).
    ///
    /// Nothing ties such a payload to an artifact: the caller takes over checks V10 and V11, verifies with
    /// [`crate::Artifact::unbound_statement`] and must read the bytes itself. Types are compared as text, and an in-toto
    /// statement is only handed out here when its type is among them.
    ///
    /// # Errors
    /// [`VerifyError::PolicyInvalid`] without a type.
    pub fn raw_envelope(self, payload_types: Vec<String>) -> Result<Policy, VerifyError> {
        if payload_types.is_empty() {
            return Err(invalid("no payload type".into()));
        }
        Ok(self.with(Content::RawEnvelope(payload_types)))
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
            certificate_log_operators_distinct: false,
            certificate_chain_allowed: false,
            witnesses: None,
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
    pub(crate) certificate_log_operators_distinct: bool,
    pub(crate) certificate_chain_allowed: bool,
    pub(crate) witnesses: Option<WitnessPolicy>,
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

    /// How many verified times of distinct operators are needed, whatever their source. Default 1 for identities, 0 for
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

    /// How many certificate logs must hold the certificate. Default 1 for identities. A key has no certificate: with keys,
    /// anything but 0 is refused.
    #[must_use]
    pub fn certificate_log_threshold(mut self, logs: usize) -> Self {
        self.certificate_log_threshold = logs;
        self
    }

    /// Counts certificate logs by operator instead of by log: two logs of one operator are then one.
    #[must_use]
    pub fn distinct_certificate_log_operators(mut self) -> Self {
        self.certificate_log_operators_distinct = true;
        self
    }

    /// Counts an entry only when the checkpoint that proves it is cosigned as the witness policy says, by a log that it
    /// names if it names any.
    #[must_use]
    pub fn witnesses(mut self, witnesses: WitnessPolicy) -> Self {
        self.witnesses = Some(witnesses);
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

/// The glob as a regular expression.
fn glob_pattern(glob: &str) -> String {
    let mut pattern = String::with_capacity(2 * glob.len());
    let mut rest = glob;
    while let Some(first) = rest.chars().next() {
        let (piece, length) = match first {
            '*' if rest.starts_with("**") => (".*".to_owned(), 2),
            '*' => ("[^/?#@]*".to_owned(), 1),
            '?' => ("[^/?#@]".to_owned(), 1),
            other => (regex::escape(&other.to_string()), other.len_utf8()),
        };
        pattern.push_str(&piece);
        rest = rest.get(length..).unwrap_or_default();
    }
    pattern
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
    fn patterns_and_globs_are_read_up_to_their_limit() {
        let text = "a".repeat(MAX_PATTERN_TEXT);
        let longer = format!("{text}a");
        for read in [Matcher::pattern, Matcher::glob] {
            assert!(read(&text).is_ok_and(|matcher| matcher.matches(&text)));
            assert_eq!(
                read(&longer).err().map(|error| error.code()),
                Some("POLICY_INVALID")
            );
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
    fn a_glob_knows_slashes() {
        for (glob, yes, no) in [
            (
                "https://gitlab.corp/team/*/ci.yml@refs/tags/v*",
                vec![
                    "https://gitlab.corp/team/app/ci.yml@refs/tags/v1.0",
                    "https://gitlab.corp/team//ci.yml@refs/tags/v",
                ],
                vec![
                    "https://gitlab.corp/team/a/b/ci.yml@refs/tags/v1",
                    "https://gitlab.corp/team/app/ci.yml@refs/tags/v1/x",
                ],
            ),
            (
                "a/**",
                vec!["a/", "a/b", "a/b/c\n"],
                vec!["a", "b/a/c", "A/b"],
            ),
            ("**/c", vec!["/c", "a/b/c"], vec!["c", "a/b/c/"]),
            (
                "?.y",
                vec!["x.y", "é.y"],
                vec!["/.y", ".y", "xx.y", "x.y\n", "x-y"],
            ),
            (
                r"a[b](c)\d+.$^|{1}#é",
                vec![r"a[b](c)\d+.$^|{1}#é"],
                vec!["ab", "a[b](c)\\d+x$^|{1}#é"],
            ),
            (
                "*@example.com",
                vec!["@example.com", "jane@example.com"],
                vec!["jane@evil.example@example.com", "jane/@example.com"],
            ),
            (
                "https://*.example.com/x",
                vec!["https://ci.example.com/x", "https://a.b.example.com/x"],
                vec![
                    "https://evil.example?.example.com/x",
                    "https://evil.example#.example.com/x",
                    "https://jane@.example.com/x",
                    "https://evil.example/.example.com/x",
                ],
            ),
            ("a?b", vec!["axb"], vec!["a?b", "a#b", "a@b", "a/b"]),
        ] {
            let matcher = Matcher::glob(glob).expect(glob);
            for text in yes {
                assert!(matcher.matches(text), "{glob} and {text:?}");
            }
            for text in no {
                assert!(!matcher.matches(text), "{glob} and {text:?}");
            }
        }
        for bad in ["", "a***b", &"*a".repeat(MAX_PATTERN_TEXT)] {
            let error = Matcher::glob(bad).expect_err("refused");
            assert_eq!(error.code(), "POLICY_INVALID");
        }
    }

    #[test]
    fn extensions_go_by_name_and_by_number() {
        let rule = || IdentityRule::exact("a@example.com", "https://issuer").expect("a rule");
        for name in [
            "runnerEnvironment",
            "runner-environment",
            "issuer",
            "issuer-v2",
            "issuerV2",
            "username",
            "githubWorkflowSHA",
            "1.3.6.1.4.1.57264.1.11",
            "1.2.840.113549.1.9.1",
        ] {
            let value = Matcher::exact("x").expect("a text");
            assert!(rule().with_extension(name, value).is_ok(), "{name}");
        }
        for name in [
            "",
            "runner",
            "RunnerEnvironment",
            "1",
            "1.3.6.1.4.1.57264.1.x",
            "9.9.9",
        ] {
            let value = Matcher::exact("x").expect("a text");
            assert!(rule().with_extension(name, value).is_err(), "{name}");
        }
    }

    #[test]
    fn subject_types_have_names() {
        for (name, kind) in SubjectType::NAMES {
            assert_eq!(SubjectType::by_name(name), Some(kind));
            assert_eq!(kind.to_string(), name);
        }
        assert_eq!(SubjectType::by_name("URI"), None);
        let name = SubjectAlternativeName::Username("a!b".into());
        assert!(SubjectType::Username.is_of(&name) && !SubjectType::Email.is_of(&name));
    }

    #[test]
    fn a_raw_envelope_has_to_be_of_some_type() {
        let chosen = || Policy::signed_by_identity(IdentityRule::exact("a", "b").expect("a rule"));
        assert!(chosen().raw_envelope(Vec::new()).is_err());
        assert!(chosen().raw_envelope(vec!["text/plain".into()]).is_ok());
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
