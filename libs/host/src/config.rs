//! Typed configuration from TOML: unknown keys refused with the nearest name, values with units, secrets by reference.
//!
//! Each section is a struct with `#[serde(default, deny_unknown_fields)]`; durations and sizes use the [`duration`] and
//! [`size`] modules (`#[serde(with = "sealwright_host::config::duration")]`), secrets are [`SecretRef`].

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Why a configuration cannot be used. Every message names the place and says what would be accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A key that nothing reads. Probably a typing error, or a key of another section.
    #[error("{place}: unknown key `{key}`{}", suggestion(nearest.as_deref(), accepted))]
    UnknownKey {
        /// File and line.
        place: Place,
        /// The key as written.
        key: String,
        /// The accepted key that looks most like it.
        nearest: Option<String>,
        /// Every key accepted there.
        accepted: Vec<String>,
    },
    /// A value that is not among the accepted ones.
    #[error("{place}: unknown value `{value}`{}", suggestion(nearest.as_deref(), accepted))]
    UnknownValue {
        /// File and line.
        place: Place,
        /// The value as written.
        value: String,
        /// The accepted value that looks most like it.
        nearest: Option<String>,
        /// Every value accepted there.
        accepted: Vec<String>,
    },
    /// The text is not TOML, or a value has the wrong type or form.
    #[error("{place}: {message}")]
    Malformed {
        /// File and line.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// A secret reference leads nowhere.
    #[error("secret {reference}: {what}")]
    Secret {
        /// The reference, never the secret.
        reference: SecretRef,
        /// What is wrong.
        what: String,
    },
    /// A value that is well formed and cannot be used.
    #[error("{key}: {what}")]
    Unusable {
        /// The key, dotted: `host.listen`.
        key: String,
        /// Which value, why, and what would be accepted.
        what: String,
    },
}

impl ConfigError {
    /// A well-formed value of `key` that cannot be used; `what` names the value and what would be accepted.
    pub fn unusable(key: impl Into<String>, what: impl Display) -> Self {
        Self::Unusable {
            key: key.into(),
            what: what.to_string(),
        }
    }
}

/// Where in a configuration something is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// The file, or another name of the source.
    pub source: String,
    /// The line, from 1.
    pub line: Option<usize>,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

fn suggestion(nearest: Option<&str>, accepted: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None if accepted.is_empty() => "; nothing is accepted here".to_owned(),
        None => format!("; accepted: {}", accepted.join(", ")),
    }
}

/// Reads and parses the TOML file at `path`.
///
/// # Errors
/// See [`ConfigError`].
pub fn load<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, &path.display().to_string())
}

/// Parses TOML text; `source` is what messages call it.
///
/// # Errors
/// See [`ConfigError`].
pub fn parse<T: DeserializeOwned>(text: &str, source: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| explain(&error, text, source))
}

/// Turns the parser's error into one of ours.
///
/// `serde` reports an unknown name only in words, in a form it has kept since 1.0: ``unknown field `x`, expected one of
/// `a`, `b` ``. Reading that back keeps every section an ordinary derived struct; should the words ever change, the
/// message is passed on as it is and a test here fails.
fn explain(error: &toml::de::Error, text: &str, source: &str) -> ConfigError {
    let line = error
        .span()
        .and_then(|span| text.get(..span.start))
        .map(|before| before.matches('\n').count() + 1);
    let place = Place {
        source: source.to_owned(),
        line,
    };
    let message = error.message().trim();
    if let Some((key, accepted)) = unknown(message, "unknown field `") {
        let nearest = nearest(&key, &accepted);
        return ConfigError::UnknownKey {
            place,
            key,
            nearest,
            accepted,
        };
    }
    if let Some((value, accepted)) = unknown(message, "unknown variant `") {
        let nearest = nearest(&value, &accepted);
        return ConfigError::UnknownValue {
            place,
            value,
            nearest,
            accepted,
        };
    }
    ConfigError::Malformed {
        place,
        message: message.to_owned(),
    }
}

/// Splits ``unknown field `x`, expected one of `a`, `b` `` into `x` and [`a`, `b`].
fn unknown(message: &str, prefix: &str) -> Option<(String, Vec<String>)> {
    let (key, rest) = message.strip_prefix(prefix)?.split_once("`, ")?;
    let accepted = rest
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect();
    Some((key.to_owned(), accepted))
}

/// The accepted name most like `name`, when any is like it at all.
#[must_use]
pub fn nearest(name: &str, accepted: &[String]) -> Option<String> {
    const ALIKE: f64 = 0.75;
    let folded = name.to_lowercase().replace('-', "_");
    accepted
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&folded, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, candidate)| candidate.clone())
}

const DURATION_UNITS: &[(&str, u64)] = &[
    ("ms", 1),
    ("s", 1000),
    ("m", 60 * 1000),
    ("h", 60 * 60 * 1000),
    ("d", 24 * 60 * 60 * 1000),
];

const SIZE_UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1000),
    ("MB", 1000 * 1000),
    ("GB", 1000 * 1000 * 1000),
];

/// Splits `250ms` into number and unit and multiplies.
fn with_unit(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    let accepted = || {
        units
            .iter()
            .map(|(unit, _)| *unit)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split).unwrap_or((text, ""));
    let number: u64 = number.parse().map_err(|_| {
        format!("`{text}` does not begin with a whole number; write e.g. \"{example}\"")
    })?;
    let factor = units
        .iter()
        .find(|(name, _)| *name == unit.trim())
        .map(|(_, factor)| *factor);
    let factor = factor.ok_or_else(|| {
        format!(
            "`{text}` needs a unit, one of {}; write e.g. \"{example}\"",
            accepted()
        )
    })?;
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("`{text}` is too large"))
}

/// Parses `250ms`, `10s`, `5m`, `2h`, `30d`.
///
/// # Errors
/// A sentence that names the value and the accepted units.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    with_unit(text, DURATION_UNITS, "10s").map(Duration::from_millis)
}

/// Parses `512B`, `64KiB`, `4MiB`, `1GiB`, `64kB`, `4MB`, `1GB` into bytes.
///
/// # Errors
/// A sentence that names the value and the accepted units.
pub fn parse_size(text: &str) -> Result<u64, String> {
    with_unit(text, SIZE_UNITS, "4MiB")
}

/// The largest unit that divides the duration, e.g. `90s`, `2m`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    format_unit(
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        DURATION_UNITS,
    )
}

/// The largest binary unit that divides the size, e.g. `4MiB`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    format_unit(bytes, SIZE_UNITS.get(..4).unwrap_or(SIZE_UNITS))
}

fn format_unit(value: u64, units: &[(&str, u64)]) -> String {
    let fits = units
        .iter()
        .rev()
        .find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    let (unit, factor) = fits.or(units.first()).copied().unwrap_or(("", 1));
    format!("{}{unit}", value / factor)
}

/// `#[serde(with = "config::duration")]` for a [`Duration`]: `"10s"`.
pub mod duration {
    use super::*;

    /// Writes `"10s"`.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    /// Reads `"10s"`.
    ///
    /// # Errors
    /// The value is no duration with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// `#[serde(with = "config::size")]` for a `u64` of bytes: `"4MiB"`.
pub mod size {
    use super::*;

    /// Writes `"4MiB"`.
    ///
    /// # Errors
    /// The serializer's own.
    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_size(*bytes))
    }

    /// Reads `"4MiB"`.
    ///
    /// # Errors
    /// The value is no size with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        parse_size(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Where a secret is kept: `file:PATH` (relative to the configuration's folder) or `env:NAME`. Never the secret itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SecretRef {
    /// A file that holds the secret; one trailing newline is not part of it.
    File(PathBuf),
    /// An environment variable that holds the secret.
    Env(String),
}

/// A secret file larger than this is a mistake.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

impl SecretRef {
    /// Reads the secret. Relative files are looked up in `folder`.
    ///
    /// # Errors
    /// [`ConfigError::Secret`]: missing, unreadable, empty or implausibly large.
    pub fn resolve(&self, folder: &Path) -> Result<Secret, ConfigError> {
        let failed = |what: String| ConfigError::Secret {
            reference: self.clone(),
            what,
        };
        let mut bytes = match self {
            Self::Env(name) => std::env::var_os(name)
                .ok_or_else(|| failed("the variable is not set".to_owned()))?
                .into_encoded_bytes(),
            Self::File(path) => {
                let path = folder.join(path);
                let length = std::fs::metadata(&path)
                    .map_err(|error| failed(error.to_string()))?
                    .len();
                if length > MAX_SECRET_BYTES {
                    return Err(failed(format!(
                        "{length} bytes are more than the limit of {MAX_SECRET_BYTES}"
                    )));
                }
                std::fs::read(&path).map_err(|error| failed(error.to_string()))?
            }
        };
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        if bytes.is_empty() {
            Err(failed("it is empty".to_owned()))
        } else {
            Ok(Secret(bytes))
        }
    }
}

impl FromStr for SecretRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(PathBuf::from(path))),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            // The text may be the secret itself, so it is not repeated.
            _ => Err("a secret is given by reference: \"file:PATH\" or \"env:NAME\"".to_owned()),
        }
    }
}

impl Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A secret in memory. Shown as `Secret(..)`, wiped when dropped.
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes; the caller keeps them out of logs and errors.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text.
    ///
    /// # Errors
    /// The secret is not UTF-8.
    pub fn expose_str(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(&self.0)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct File {
        host: Host,
    }

    #[derive(Debug, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Host {
        listen: String,
        #[serde(with = "duration")]
        header_timeout: Duration,
        #[serde(with = "size")]
        body: u64,
        format: Format,
        password: Option<SecretRef>,
    }

    impl Default for Host {
        fn default() -> Self {
            let (header_timeout, body) = (Duration::from_secs(1), 1);
            Self {
                listen: String::new(),
                header_timeout,
                body,
                format: Format::Human,
                password: None,
            }
        }
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Format {
        Human,
        Json,
    }

    fn complaint(text: &str) -> String {
        parse::<File>(text, "a.toml")
            .expect_err("refused")
            .to_string()
    }

    #[test]
    fn values_with_units_are_read() {
        let text = "[host]\nlisten = \"x\"\nheader_timeout = \"250ms\"\nbody = \"4MiB\"\nformat = \"json\"\npassword = \"env:P\"";
        let host = parse::<File>(text, "a.toml").unwrap().host;
        assert_eq!(
            (host.header_timeout, host.body),
            (Duration::from_millis(250), 4 << 20)
        );
        assert_eq!((host.format, host.listen.as_str()), (Format::Json, "x"));
        assert_eq!(host.password, Some(SecretRef::Env("P".to_owned())));
    }

    #[test]
    fn an_unknown_key_is_refused_with_place_and_nearest_name() {
        assert_eq!(
            complaint("[host]\nlisen = \"x\""),
            "a.toml:2: unknown key `lisen`; did you mean `listen`?"
        );
        assert_eq!(
            complaint("[host]\nheader-timeout = \"1s\""),
            "a.toml:2: unknown key `header-timeout`; did you mean `header_timeout`?"
        );
        assert_eq!(
            complaint("[hosts]\n"),
            "a.toml:1: unknown key `hosts`; did you mean `host`?"
        );
    }

    #[test]
    fn an_unknown_key_like_no_other_is_refused_with_all_that_are_accepted() {
        let said = complaint("[host]\nzzz = 1");
        assert!(
            said.ends_with("accepted: listen, header_timeout, body, format, password"),
            "{said}"
        );
    }

    #[test]
    fn an_unknown_value_is_refused_with_the_nearest_one() {
        assert_eq!(
            complaint("[host]\nformat = \"jsn\""),
            "a.toml:2: unknown value `jsn`; did you mean `json`?"
        );
    }

    #[test]
    fn numbers_without_units_are_refused_with_an_example() {
        assert!(
            complaint("[host]\nheader_timeout = \"10\"")
                .contains("needs a unit, one of ms, s, m, h, d; write e.g. \"10s\"")
        );
        assert!(complaint("[host]\nbody = \"4 potatoes\"").contains("write e.g. \"4MiB\""));
        assert!(complaint("[host]\nbody = \"99999999999GiB\"").contains("too large"));
        assert!(complaint("[host]\nheader_timeout = 10").contains("a.toml:2"));
    }

    #[test]
    fn a_secret_value_is_refused_without_being_repeated() {
        let said = complaint("[host]\npassword = \"hunter2\"");
        assert!(
            said.contains("file:PATH") && !said.contains("hunter2"),
            "{said}"
        );
    }

    #[test]
    fn a_secret_is_read_without_its_newline_and_never_shown() {
        let folder = std::env::temp_dir().join(format!(
            "sealwright-host-secret-{:016x}",
            rand::random::<u64>()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("p"), "hunter2\n").unwrap();
        let secret = SecretRef::File("p".into()).resolve(&folder).unwrap();
        assert_eq!(
            (secret.expose(), format!("{secret:?}").as_str()),
            (&b"hunter2"[..], "Secret(..)")
        );
        assert!(SecretRef::File("q".into()).resolve(&folder).is_err());
        std::fs::write(folder.join("p"), "\n").unwrap();
        assert!(SecretRef::File("p".into()).resolve(&folder).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn durations_and_sizes_are_written_as_they_are_read() {
        for text in ["250ms", "10s", "2m", "36h", "90d", "1ms"] {
            let parsed = parse_duration(text).unwrap();
            assert_eq!(
                parse_duration(&format_duration(parsed)),
                Ok(parsed),
                "{text}"
            );
        }
        assert_eq!(
            (format_size(4 << 20), format_size(1000), format_size(0)),
            ("4MiB".into(), "1000B".into(), "0B".into())
        );
    }
}
