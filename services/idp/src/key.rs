//! The signing key, and the two things that come out of it: signed tokens (RFC 7515 compact form) and the key set (RFC 7517).
//!
//! RS256 with 2048 bits, because it is the one algorithm every published client accepts for a token given by hand, and every
//! verifier for an ID token. The key is made once and stays: a token outlives a restart.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use sealwright_crypto::{Algorithm, KeyType, PrivateKey, base64, sha256};
use sealwright_host::file::{self, Readers};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::Error;

const KEY_FILE: &str = "signing_key.pem";
const KEY_BITS: u32 = 2048;

/// An RSA key with its key id.
#[derive(Debug)]
pub(crate) struct SigningKey {
    key: PrivateKey,
    algorithm: Algorithm,
    jwk: Value,
    kid: String,
}

impl SigningKey {
    /// Reads the key of this directory, or makes it on the first call. Blocks on the disk.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(KEY_FILE);
        let pem = match std::fs::read_to_string(&path) {
            Ok(pem) => Zeroizing::new(pem),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => create(dir, &path)?,
            Err(source) => return Err(Error::KeyFile { path, source }),
        };
        Self::parse(&pem).map_err(|problem| Error::KeyForm { path, problem })
    }

    fn parse(pem: &str) -> Result<Self, String> {
        let key = PrivateKey::from_pem(pem).map_err(|error| error.to_string())?;
        let KeyType::Rsa { bits } = key.public_key().key_type() else {
            return Err(format!(
                "it holds a key of type {}",
                key.public_key().key_type()
            ));
        };
        if bits < KEY_BITS {
            return Err(format!("it holds an RSA key of {bits} bits"));
        }
        let (n, e) = key
            .public_key()
            .rsa_components()
            .ok_or("the modulus cannot be read")?;
        let (n, e) = (base64::encode_url(n), base64::encode_url(e));
        let kid = thumbprint(&n, &e);
        let jwk = json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": kid, "n": n, "e": e });
        let algorithm = key.public_key().default_algorithm();
        Ok(Self {
            key,
            algorithm,
            jwk,
            kid,
        })
    }

    /// The key set: this key alone.
    pub(crate) fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// The claims as a signed token.
    pub(crate) fn sign(
        &self,
        claims: &Map<String, Value>,
    ) -> Result<String, sealwright_crypto::SignError> {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.kid });
        let header = base64::encode_url(header.to_string().as_bytes());
        let payload = base64::encode_url(Value::Object(claims.clone()).to_string().as_bytes());
        let signing_input = format!("{header}.{payload}");
        let signature = self.key.sign(self.algorithm, signing_input.as_bytes())?;
        Ok(format!(
            "{signing_input}.{}",
            base64::encode_url(&signature)
        ))
    }
}

/// RFC 7638: SHA-256 over the required members in alphabetical order.
fn thumbprint(n: &str, e: &str) -> String {
    base64::encode_url(&sha256(
        format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes(),
    ))
}

/// Makes a key and keeps it, readable by its owner alone.
fn create(dir: &Path, path: &Path) -> Result<Zeroizing<String>, Error> {
    let key =
        PrivateKey::generate(KeyType::Rsa { bits: KEY_BITS }).map_err(|error| Error::Generate {
            problem: error.to_string(),
        })?;
    let pem = key.to_pkcs8_pem();
    let write = || {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
        file::write_whole(path, pem.as_bytes(), Readers::Owner)
    };
    write().map_err(|source| Error::KeyFile {
        path: path.to_owned(),
        source,
    })?;
    Ok(pem)
}
