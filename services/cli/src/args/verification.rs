//! The flags of verification: whose signature is expected, and how many have to vouch for it.

use std::path::PathBuf;

use clap::Args;

use super::{Compatibility, OwnPkiArgs, TrustArgs};

/// What a bundle is verified with.
#[derive(Debug, Args)]
pub(crate) struct VerificationArgs {
    #[command(flatten)]
    pub(crate) trust: TrustArgs,

    /// Bundle to verify.
    #[arg(long, value_name = "IN")]
    pub(crate) bundle: PathBuf,

    /// Largest bundle that is read, such as 64MiB; statements may carry large documents.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "32MiB")]
    pub(crate) max_bundle_size: usize,

    #[command(flatten)]
    pub(crate) identity: ExpectedIdentity,

    /// Public key file in PEM that must have signed, instead of an identity. Several: any of them.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) own_pki: OwnPkiArgs,

    #[command(flatten)]
    pub(crate) thresholds: Thresholds,

    /// Accept a certificate chain in the bundle, for authorities whose intermediates the verifier does not have.
    #[arg(long)]
    pub(crate) allow_certificate_chain: bool,

    #[command(flatten)]
    pub(crate) compatibility: Compatibility,
}

/// Whose signature is expected. Several identities: any of them.
#[derive(Debug, Args)]
pub(crate) struct ExpectedIdentity {
    /// The identity that must have signed, such as an e-mail address; compared exactly. Several: any of them.
    #[arg(long, value_name = "IDENTITY", conflicts_with = "key", required_unless_present_any = ["certificate_identity_regexp", "certificate_identity_glob", "key", "certificate"])]
    pub(crate) certificate_identity: Vec<String>,

    /// Regular expression that the whole identity must match.
    #[arg(long, value_name = "REGEXP", conflicts_with_all = ["key", "certificate_identity"])]
    pub(crate) certificate_identity_regexp: Vec<String>,

    /// Glob that the whole identity must match: * and ? stop at a slash, ** does not.
    #[arg(long, value_name = "GLOB", conflicts_with_all = ["key", "certificate_identity", "certificate_identity_regexp"])]
    pub(crate) certificate_identity_glob: Vec<String>,

    /// Type that the identity must be of: email, uri, dns or username.
    #[arg(long, value_name = "TYPE", conflicts_with = "key")]
    pub(crate) certificate_identity_type: Option<String>,

    /// The issuer that must have vouched for the identity; compared exactly. One for all identities, or one for each in
    /// their order.
    #[arg(long, value_name = "URL", conflicts_with = "key", required_unless_present_any = ["certificate_oidc_issuer_regexp", "key", "certificate_chain", "ca_roots"])]
    pub(crate) certificate_oidc_issuer: Vec<String>,

    /// Regular expression that the whole issuer must match.
    #[arg(long, value_name = "REGEXP", conflicts_with_all = ["key", "certificate_oidc_issuer"])]
    pub(crate) certificate_oidc_issuer_regexp: Vec<String>,

    /// Certificate extension and its value: a name of the profile such as runnerEnvironment, or an object identifier. Several:
    /// all of them.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, conflicts_with = "key")]
    pub(crate) cert_ext: Vec<(String, String)>,

    /// The same as --cert-ext githubWorkflowTrigger=EVENT.
    #[arg(long, value_name = "EVENT", conflicts_with = "key")]
    pub(crate) certificate_github_workflow_trigger: Option<String>,

    /// The same as --cert-ext githubWorkflowSHA=COMMIT.
    #[arg(long, value_name = "COMMIT", conflicts_with = "key")]
    pub(crate) certificate_github_workflow_sha: Option<String>,

    /// The same as --cert-ext githubWorkflowName=NAME.
    #[arg(long, value_name = "NAME", conflicts_with = "key")]
    pub(crate) certificate_github_workflow_name: Option<String>,

    /// The same as --cert-ext githubWorkflowRepository=REPOSITORY.
    #[arg(long, value_name = "REPOSITORY", conflicts_with = "key")]
    pub(crate) certificate_github_workflow_repository: Option<String>,

    /// The same as --cert-ext githubWorkflowRef=REF.
    #[arg(long, value_name = "REF", conflicts_with = "key")]
    pub(crate) certificate_github_workflow_ref: Option<String>,
}

impl ExpectedIdentity {
    /// Every extension that is asked for, by name.
    pub(crate) fn extensions(&self) -> Vec<(&str, &str)> {
        let of_cosign = [
            (
                "githubWorkflowTrigger",
                &self.certificate_github_workflow_trigger,
            ),
            ("githubWorkflowSHA", &self.certificate_github_workflow_sha),
            ("githubWorkflowName", &self.certificate_github_workflow_name),
            (
                "githubWorkflowRepository",
                &self.certificate_github_workflow_repository,
            ),
            ("githubWorkflowRef", &self.certificate_github_workflow_ref),
        ];
        let own = self
            .cert_ext
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let cosigns = of_cosign
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)));
        own.chain(cosigns).collect()
    }
}

/// How many have to vouch. Whatever a bundle carries is verified all the same: these say what it must carry at least, and
/// never which of it counts.
#[derive(Debug, Args)]
pub(crate) struct Thresholds {
    /// Logs of distinct operators that must hold the signature; 1 when left out.
    #[arg(long, value_name = "N")]
    pub(crate) log_threshold: Option<usize>,

    /// Verified times of distinct operators that are needed, whatever vouches for them; 1 for identities and none for keys when
    /// left out.
    #[arg(long, value_name = "N")]
    pub(crate) time_threshold: Option<usize>,

    /// Timestamp authorities of distinct operators that must vouch for the time; none when left out, as a log may do so.
    #[arg(long, value_name = "N")]
    pub(crate) timestamp_threshold: Option<usize>,

    /// Certificate logs that must hold the certificate; 1 for identities when left out.
    #[arg(long, value_name = "N")]
    pub(crate) sct_threshold: Option<usize>,

    /// Count certificate logs by operator.
    #[arg(long)]
    pub(crate) sct_distinct_operators: bool,

    /// Witness policy file (C2SP tlog-policy): entries count when these witnesses have cosigned the log's tree.
    #[arg(long, value_name = "FILE")]
    pub(crate) witness_policy: Option<PathBuf>,

    /// The same as --log-threshold 0, under cosign's name.
    #[arg(long, conflicts_with = "log_threshold", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) insecure_ignore_tlog: bool,

    /// The same as --log-threshold 0, under cosign's name.
    #[arg(long, conflicts_with = "log_threshold", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) private_infrastructure: bool,

    /// The same as --sct-threshold 0, under cosign's name.
    #[arg(long, conflicts_with = "sct_threshold", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub(crate) insecure_ignore_sct: bool,
}

impl Thresholds {
    pub(crate) fn logs(&self) -> Option<usize> {
        let waived = self.insecure_ignore_tlog || self.private_infrastructure;
        self.log_threshold.or(waived.then_some(0))
    }

    pub(crate) fn certificate_logs(&self) -> Option<usize> {
        self.sct_threshold.or(self.insecure_ignore_sct.then_some(0))
    }
}

/// `verify-blob`.
#[derive(Debug, Args)]
pub(crate) struct VerifyBlob {
    /// The signed file, or its digest as sha256:HEX.
    #[arg(value_name = "FILE")]
    pub(crate) file: String,

    #[command(flatten)]
    pub(crate) verification: VerificationArgs,
}

/// `verify-blob-attestation`.
#[derive(Debug, Args)]
pub(crate) struct VerifyBlobAttestation {
    /// The file that the statement must be about, or its digest as sha256:HEX. Several: each of them.
    #[arg(value_name = "FILE", required_unless_present = "subject_digest")]
    pub(crate) files: Vec<String>,

    /// A subject that is no file: its digest by in-toto's name for it, such as gitCommit:HEX. The statement must name it too.
    #[arg(long, value_name = "NAME:HEX", value_parser = named_digest)]
    pub(crate) subject_digest: Vec<(String, String)>,

    /// Accepted predicate type: a URI, or one of cosign's names. Cosign's default type when left out. Several: any of them.
    #[arg(long = "type", value_name = "TYPE", conflicts_with = "any_type")]
    pub(crate) predicate_type: Vec<String>,

    /// Accept every predicate type, and say which it was.
    #[arg(long)]
    pub(crate) any_type: bool,

    #[command(flatten)]
    pub(crate) verification: VerificationArgs,
}

/// `NAME=VALUE`; the value may have equals signs.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.into(), value.into()))
        }
        _ => Err(format!(
            "{text:?} is not NAME=VALUE, such as runnerEnvironment=self-hosted"
        )),
    }
}

/// `NAME:HEX`.
fn named_digest(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, digits))
            if !name.is_empty()
                && !digits.is_empty()
                && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) =>
        {
            Ok((name.into(), digits.into()))
        }
        _ => Err(format!(
            "{text:?} is not NAME:HEX, such as gitCommit:1f7a7a4..."
        )),
    }
}

/// `1000`, `64KiB`, `32MiB`, `1GiB`.
fn size(text: &str) -> Result<usize, String> {
    const UNITS: [(&str, usize); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (digits, factor) = match unit {
        Some((unit, factor)) => (text.trim_end_matches(unit), *factor),
        None => (text, 1),
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("{text:?} is no size; use a number with KiB, MiB or GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_none() {
        for (text, bytes) in [
            ("1", 1),
            ("64KiB", 65_536),
            ("32MiB", 33_554_432),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "0",
            "MiB",
            "-1",
            "1.5MiB",
            "1MB",
            "1 MiB",
            "99999999999999999999GiB",
        ] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_are_split_at_the_first_sign() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(
            named_digest("gitCommit:0aF"),
            Ok(("gitCommit".into(), "0aF".into()))
        );
        for text in ["", "a", "=b", "a="] {
            assert!(pair(text).is_err(), "{text}");
        }
        for text in ["", "a", ":00", "a:", "a:xy", "a:0:0"] {
            assert!(named_digest(text).is_err(), "{text}");
        }
    }
}
