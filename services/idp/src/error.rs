//! Why the provider could not start. What it answers to callers is in [`crate::api`].

use std::path::PathBuf;

/// A provider that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The issuer is no usable URL.
    #[error(
        "issuer {issuer:?} {problem}; give an http or https URL without query, fragment, user or trailing slash, such as http://127.0.0.1:7700/oidc"
    )]
    Issuer {
        /// The configured value.
        issuer: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The name of an extra issuer cannot be a path segment.
    #[error(
        "extra issuer {name:?} is not a path segment; use 1 to 32 of a-z, 0-9 and '-', and none of the provider's own paths"
    )]
    ExtraIssuer {
        /// The configured value.
        name: String,
    },
    /// `login` is no e-mail address.
    #[error("login {login:?} is not an e-mail address; give one such as dev@example.com")]
    Login {
        /// The configured value.
        login: String,
    },
    /// The key file, or its directory, cannot be read or written.
    #[error("signing key {}: {source}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The key file holds something else than an RSA private key.
    #[error("signing key {}: {problem}; expected a PEM private key (PKCS#8) for RSA of 2048 bits or more. Remove the file to make a new key", path.display())]
    KeyForm {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// A fresh key could not be made.
    #[error("generating the signing key failed: {problem}")]
    Generate {
        /// What the cryptographic library said.
        problem: String,
    },
}
