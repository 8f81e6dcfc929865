//! The certificate profile: who a certificate names, as extensions and back.
//!
//! An [`Identity`] is what the authority vouches for: one subject alternative name, the issuer of the identity token,
//! and what the token said about a build. Reading and writing live in this one file, so that they cannot drift apart.
//! Object identifiers and encodings are those of the Fulcio profile (`1.3.6.1.4.1.57264.1`): rows 1 to 6 are bare
//! UTF-8, rows 8 to 24 are DER UTF8String.

use std::fmt;

use const_oid::ObjectIdentifier;

use crate::asn1::{self, Writer, tag};
use crate::certificate::{Certificate, GeneralName};
use crate::error::{Error, IdentityFault};
use crate::oid;

/// Longest subject alternative name, issuer or extension value that is certified, in bytes.
pub const MAX_VALUE_BYTES: usize = 2048;

/// Who a certificate is for: the one subject alternative name of the profile.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SubjectAlternativeName {
    /// rfc822Name
    Email(String),
    /// uniformResourceIdentifier: workflows, SPIFFE identities, service accounts
    Uri(String),
    /// otherName 1.3.6.1.4.1.57264.1.7: `username!domain`
    Username(String),
    /// dNSName: read, since verifiers may meet it; the authority has no issuer type that gives it
    Dns(String),
}

impl SubjectAlternativeName {
    /// The name without its type.
    pub fn value(&self) -> &str {
        match self {
            Self::Email(value) | Self::Uri(value) | Self::Username(value) | Self::Dns(value) => {
                value
            }
        }
    }

    /// The type as a person would say it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::Uri(_) => "uri",
            Self::Username(_) => "username",
            Self::Dns(_) => "dns",
        }
    }

    /// The name of a certificate that has exactly one of a form that names somebody.
    pub fn from_certificate(certificate: &Certificate) -> Result<Self, Error> {
        match certificate.subject_alt_names() {
            [GeneralName::Email(value)] => Ok(Self::Email(value.clone())),
            [GeneralName::Uri(value)] => Ok(Self::Uri(value.clone())),
            [GeneralName::Username(value)] => Ok(Self::Username(value.clone())),
            [GeneralName::Dns(value)] => Ok(Self::Dns(value.clone())),
            _ => Err(Error::Identity(IdentityFault::SubjectAlternativeName)),
        }
    }

    /// Value of the subjectAltName extension.
    pub fn to_extension_value(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.sequence(|names| match self {
            Self::Email(value) => names.tlv(tag::context(1), value.as_bytes()),
            Self::Dns(value) => names.tlv(tag::context(2), value.as_bytes()),
            Self::Uri(value) => names.tlv(tag::context(6), value.as_bytes()),
            Self::Username(value) => names.nested(tag::context_constructed(0), |other| {
                other.oid(&oid::FULCIO_USERNAME);
                other.nested(tag::context_constructed(0), |explicit| {
                    explicit.utf8_string(value)
                });
            }),
        });
        writer.finish()
    }

    fn check(&self) -> Result<(), IdentityFault> {
        const FIELD: &str = "subject alternative name";
        let value = self.value();
        check_text(FIELD, value)?;
        if value.is_empty() {
            return Err(IdentityFault::Value {
                field: FIELD,
                problem: "it is empty",
            });
        }
        let problem = match self {
            Self::Email(_) => email_problem(value),
            Self::Uri(_) => uri_problem(value),
            Self::Username(_) => username_problem(value),
            Self::Dns(_) => dns_problem(value),
        };
        problem.map_or(Ok(()), |problem| {
            Err(IdentityFault::Value {
                field: FIELD,
                problem,
            })
        })
    }
}

impl fmt::Display for SubjectAlternativeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.value())
    }
}

fn email_problem(value: &str) -> Option<&'static str> {
    match value.rsplit_once('@') {
        _ if !value.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Some("it is not printable ASCII without spaces")
        }
        Some((local, domain))
            if !local.is_empty() && !domain.is_empty() && !local.contains('@') =>
        {
            None
        }
        _ => Some("it is not a mailbox"),
    }
}

/// An absolute URI, ASCII, without the characters that RFC 3986 does not have.
fn uri_problem(value: &str) -> Option<&'static str> {
    let scheme_is_valid = value.split_once(':').is_some_and(|(scheme, rest)| {
        let mut characters = scheme.chars();
        characters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
            && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
            && !rest.is_empty()
    });
    let allowed = |byte: u8| {
        byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`')
    };
    if !value.bytes().all(allowed) {
        Some("it has characters that a URI cannot have")
    } else if !scheme_is_valid {
        Some("it is not an absolute URI")
    } else {
        None
    }
}

fn username_problem(value: &str) -> Option<&'static str> {
    match value.split_once('!') {
        Some((name, domain)) if !name.is_empty() && !domain.is_empty() && !domain.contains('!') => {
            None
        }
        _ => Some("it is not of the form username!domain"),
    }
}

fn dns_problem(value: &str) -> Option<&'static str> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if value.split('.').all(label) {
        None
    } else {
        Some("it is not a host name")
    }
}

fn check_text(field: &'static str, value: &str) -> Result<(), IdentityFault> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(IdentityFault::Value {
            field,
            problem: "it is longer than 2048 bytes",
        });
    }
    if value.chars().any(char::is_control) {
        return Err(IdentityFault::Value {
            field,
            problem: "it has control characters",
        });
    }
    Ok(())
}

/// How a row's value is written into extnValue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueEncoding {
    /// The bytes of the text, without DER: rows 1 to 6, deprecated.
    Raw,
    /// DER UTF8String: all later rows.
    Utf8String,
}

/// One row of the profile's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtensionRow {
    /// Last arc of the object identifier.
    pub number: u8,
    /// Name in issuer configuration, e.g. `build-signer-uri`.
    pub kebab_name: &'static str,
    /// Name in policies and output, e.g. `buildSignerURI`.
    pub name: &'static str,
    /// How the value is written.
    pub encoding: ValueEncoding,
}

impl ExtensionRow {
    /// The object identifier `1.3.6.1.4.1.57264.1.<number>`.
    pub fn oid(&self) -> ObjectIdentifier {
        oid::FULCIO_ARC
            .push_arc(u32::from(self.number))
            .expect("one more arc fits into 39 octets")
    }

    /// The row with this identifier.
    pub fn by_oid(oid: &ObjectIdentifier) -> Option<&'static Self> {
        let number = fulcio_number(oid)?;
        EXTENSION_ROWS.iter().find(|row| row.number == number)
    }

    /// The row with this name, in either spelling.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        EXTENSION_ROWS
            .iter()
            .find(|row| row.kebab_name == name || row.name == name)
    }

    fn encode(&self, value: &str) -> Vec<u8> {
        match self.encoding {
            ValueEncoding::Raw => value.as_bytes().to_vec(),
            ValueEncoding::Utf8String => asn1::encode(tag::UTF8_STRING, value.as_bytes()),
        }
    }

    fn decode(&self, value: &[u8]) -> Result<String, Error> {
        let fault = || Error::Identity(IdentityFault::Extension { oid: self.oid() });
        let text = match self.encoding {
            ValueEncoding::Raw => value,
            ValueEncoding::Utf8String => {
                asn1::only(value, tag::UTF8_STRING)
                    .map_err(|_| fault())?
                    .value
            }
        };
        String::from_utf8(text.to_vec()).map_err(|_| fault())
    }
}

/// `N` of `1.3.6.1.4.1.57264.1.N`.
fn fulcio_number(oid: &ObjectIdentifier) -> Option<u8> {
    match oid.as_bytes().strip_prefix(oid::FULCIO_ARC.as_bytes()) {
        Some([number]) if *number < 0x80 => Some(*number),
        _ => None,
    }
}

macro_rules! fulcio_extensions {
    ($($number:literal $field:ident $kebab:literal $name:literal $encoding:ident $doc:literal;)*) => {
        /// What a certificate says about a build, besides its issuer and its subject alternative name. Absent rows are
        /// `None`; an empty value is written as no extension at all.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
        pub struct FulcioExtensions {
            $(#[doc = $doc] pub $field: Option<String>,)*
        }

        /// The table of [`FulcioExtensions`], in the order in which a certificate has them.
        pub const EXTENSION_ROWS: &[ExtensionRow] = &[
            $(ExtensionRow {
                number: $number,
                kebab_name: $kebab,
                name: $name,
                encoding: ValueEncoding::$encoding,
            },)*
        ];

        impl FulcioExtensions {
            fn slot(&self, number: u8) -> Option<&Option<String>> {
                match number {
                    $($number => Some(&self.$field),)*
                    _ => None,
                }
            }

            fn slot_mut(&mut self, number: u8) -> Option<&mut Option<String>> {
                match number {
                    $($number => Some(&mut self.$field),)*
                    _ => None,
                }
            }
        }
    };
}

fulcio_extensions! {
    2 github_workflow_trigger "github-workflow-trigger" "githubWorkflowTrigger" Raw "Event that started the workflow; deprecated (.2)";
    3 github_workflow_sha "github-workflow-sha" "githubWorkflowSHA" Raw "Commit the workflow ran for; deprecated (.3)";
    4 github_workflow_name "github-workflow-name" "githubWorkflowName" Raw "Name of the workflow; deprecated (.4)";
    5 github_workflow_repository "github-workflow-repository" "githubWorkflowRepository" Raw "Repository of the workflow; deprecated (.5)";
    6 github_workflow_ref "github-workflow-ref" "githubWorkflowRef" Raw "Git reference of the workflow; deprecated (.6)";
    9 build_signer_uri "build-signer-uri" "buildSignerURI" Utf8String "Build instructions that signed (.9)";
    10 build_signer_digest "build-signer-digest" "buildSignerDigest" Utf8String "Version of the build instructions (.10)";
    11 runner_environment "runner-environment" "runnerEnvironment" Utf8String "Hosted by the platform or by its user (.11)";
    12 source_repository_uri "source-repository-uri" "sourceRepositoryURI" Utf8String "Repository that was built (.12)";
    13 source_repository_digest "source-repository-digest" "sourceRepositoryDigest" Utf8String "Commit that was built (.13)";
    14 source_repository_ref "source-repository-ref" "sourceRepositoryRef" Utf8String "Git reference that was built (.14)";
    15 source_repository_identifier "source-repository-identifier" "sourceRepositoryIdentifier" Utf8String "Stable identifier of the repository (.15)";
    16 source_repository_owner_uri "source-repository-owner-uri" "sourceRepositoryOwnerURI" Utf8String "Owner of the repository (.16)";
    17 source_repository_owner_identifier "source-repository-owner-identifier" "sourceRepositoryOwnerIdentifier" Utf8String "Stable identifier of the owner (.17)";
    18 build_config_uri "build-config-uri" "buildConfigURI" Utf8String "Top-level build instructions (.18)";
    19 build_config_digest "build-config-digest" "buildConfigDigest" Utf8String "Version of the top-level build instructions (.19)";
    20 build_trigger "build-trigger" "buildTrigger" Utf8String "Event or action that started the build (.20)";
    21 run_invocation_uri "run-invocation-uri" "runInvocationURI" Utf8String "The run itself (.21)";
    22 source_repository_visibility_at_signing "source-repository-visibility-at-signing" "sourceRepositoryVisibilityAtSigning" Utf8String "Public or private when it was built (.22)";
    23 deployment_environment "deployment-environment" "deploymentEnvironment" Utf8String "Environment that was deployed to (.23)";
    24 token_subject "token-subject" "tokenSubject" Utf8String "Subject of the identity token (.24)";
}

/// Rows 1 and 8: the issuer, which every identity has.
const ISSUER_ROWS: [ExtensionRow; 2] = [
    ExtensionRow {
        number: 1,
        kebab_name: "issuer",
        name: "issuer",
        encoding: ValueEncoding::Raw,
    },
    ExtensionRow {
        number: 8,
        kebab_name: "issuer-v2",
        name: "issuerV2",
        encoding: ValueEncoding::Utf8String,
    },
];

impl FulcioExtensions {
    /// The value of a row, by its object identifier.
    pub fn get(&self, oid: &ObjectIdentifier) -> Option<&str> {
        self.slot(fulcio_number(oid)?)?.as_deref()
    }

    /// Sets the value of a row by its name in either spelling (`build-signer-uri`, `buildSignerURI`). Answers whether
    /// there is such a row.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> bool {
        match ExtensionRow::by_name(name).and_then(|row| self.slot_mut(row.number)) {
            Some(slot) => {
                *slot = Some(value.into());
                true
            }
            None => false,
        }
    }

    /// Rows that have a value, in the order of the certificate.
    pub fn iter(&self) -> impl Iterator<Item = (&'static ExtensionRow, &str)> {
        EXTENSION_ROWS.iter().filter_map(|row| {
            let value = self.slot(row.number)?.as_deref()?;
            (!value.is_empty()).then_some((row, value))
        })
    }

    /// Reads the rows a certificate has; unknown numbers of the arc are left alone. Fails on values of another type.
    pub fn from_certificate(certificate: &Certificate) -> Result<Self, Error> {
        let mut extensions = Self::default();
        for extension in certificate.extensions() {
            let Some(row) = ExtensionRow::by_oid(&extension.oid) else {
                continue;
            };
            if let Some(slot) = extensions.slot_mut(row.number) {
                *slot = Some(row.decode(extension.value)?);
            }
        }
        Ok(extensions)
    }
}

/// The object identifier that a policy means: a row's name in either spelling, `issuer` (row 1), `issuerV2` (row 8),
/// `username` (row 7, which stands in the subject alternative name), or an identifier in dotted form.
pub fn extension_oid(name: &str) -> Option<ObjectIdentifier> {
    let rows = EXTENSION_ROWS.iter().chain(&ISSUER_ROWS);
    if let Some(row) = rows
        .into_iter()
        .find(|row| row.kebab_name == name || row.name == name)
    {
        return Some(row.oid());
    }
    match name {
        "username" => Some(oid::FULCIO_USERNAME),
        dotted => ObjectIdentifier::new(dotted).ok(),
    }
}

/// The text of an extension that a certificate has, by its object identifier.
///
/// Rows of the profile are decoded as it says. Of any other extension the value counts when it is a DER UTF8String and
/// nothing else, or bare UTF-8; `None` when it is neither, or not there. Row 7 is the subject alternative name of that type.
///
/// # Errors
/// A row of the profile whose value is of another type than the profile says.
pub fn extension_text(
    certificate: &Certificate,
    oid: &ObjectIdentifier,
) -> Result<Option<String>, Error> {
    if *oid == oid::FULCIO_USERNAME {
        let names = certificate.subject_alt_names().iter();
        return Ok(names
            .filter_map(|name| match name {
                GeneralName::Username(value) => Some(value.clone()),
                _ => None,
            })
            .next());
    }
    let Some(extension) = certificate.extension(oid) else {
        return Ok(None);
    };
    let rows = EXTENSION_ROWS.iter().chain(&ISSUER_ROWS);
    if let Some(row) = rows.into_iter().find(|row| row.oid() == *oid) {
        return row.decode(extension.value).map(Some);
    }
    let text = asn1::only(extension.value, tag::UTF8_STRING)
        .map_or(extension.value, |string| string.value);
    Ok(String::from_utf8(text.to_vec()).ok())
}

/// What an authority vouches for in one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Who.
    pub subject_alternative_name: SubjectAlternativeName,
    /// Issuer of the identity token: who says so (rows 1 and 8).
    pub issuer: String,
    /// What else the token said.
    pub extensions: FulcioExtensions,
}

/// An extension ready to be put into a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedExtension {
    /// extnID
    pub oid: ObjectIdentifier,
    /// critical
    pub critical: bool,
    /// Content of extnValue
    pub value: Vec<u8>,
}

impl Identity {
    /// Reads the identity of a certificate. The issuer is row 8; where only row 1 exists it counts, and where both
    /// exist they must agree.
    pub fn from_certificate(certificate: &Certificate) -> Result<Self, Error> {
        Ok(Self {
            subject_alternative_name: SubjectAlternativeName::from_certificate(certificate)?,
            issuer: issuer_of(certificate)?,
            extensions: FulcioExtensions::from_certificate(certificate)?,
        })
    }

    /// The value of any row, the issuer's included, by its object identifier.
    pub fn extension(&self, oid: &ObjectIdentifier) -> Option<&str> {
        match fulcio_number(oid)? {
            1 | 8 => Some(&self.issuer),
            _ => self.extensions.get(oid),
        }
    }

    /// The identity's extensions in the order of the profile: subjectAltName (critical, since the subject is empty),
    /// then rows 1, 2 to 6, 8, 9 to 24, none of them critical.
    pub fn to_extensions(&self) -> Vec<RenderedExtension> {
        let row = |row: &ExtensionRow, value: &str| RenderedExtension {
            oid: row.oid(),
            critical: false,
            value: row.encode(value),
        };
        let mut rendered = vec![RenderedExtension {
            oid: oid::SUBJECT_ALT_NAME,
            critical: true,
            value: self.subject_alternative_name.to_extension_value(),
        }];
        let [v1, v2] = &ISSUER_ROWS;
        rendered.push(row(v1, &self.issuer));
        rendered.extend(
            self.extensions
                .iter()
                .take_while(|(r, _)| r.number < 8)
                .map(|(r, value)| row(r, value)),
        );
        rendered.push(row(v2, &self.issuer));
        rendered.extend(
            self.extensions
                .iter()
                .skip_while(|(r, _)| r.number < 8)
                .map(|(r, value)| row(r, value)),
        );
        rendered
    }

    /// Whether the identity can be certified: names of their form and in ASCII where IA5String is meant, bounded
    /// lengths, no control characters. The authority asks before it prepares anything.
    pub fn check(&self) -> Result<(), Error> {
        let check = || {
            self.subject_alternative_name.check()?;
            check_text("issuer", &self.issuer)?;
            if self.issuer.is_empty() {
                return Err(IdentityFault::Issuer);
            }
            self.extensions
                .iter()
                .try_for_each(|(row, value)| check_text(row.name, value))
        };
        check().map_err(Error::Identity)
    }
}

/// The identity provider that a certificate names (rows 1 and 8), however many alternative names it has.
///
/// # Errors
/// [`Error::Identity`] when there is none, or when both rows are there and differ.
pub fn issuer_of(certificate: &Certificate) -> Result<String, Error> {
    let read = |row: &ExtensionRow| {
        certificate
            .extension(&row.oid())
            .map(|found| row.decode(found.value))
            .transpose()
    };
    let [v1, v2] = &ISSUER_ROWS;
    let issuer = match (read(v1)?, read(v2)?) {
        (Some(old), Some(new)) if old != new => return Err(Error::Identity(IdentityFault::Issuer)),
        (_, Some(issuer)) | (Some(issuer), None) if !issuer.is_empty() => issuer,
        _ => return Err(Error::Identity(IdentityFault::Issuer)),
    };
    // As in alternative names: whoever reads a policy or a verdict must see what is compared.
    check_text("issuer", &issuer).map_err(Error::Identity)?;
    Ok(issuer)
}
