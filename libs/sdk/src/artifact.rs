//! What is signed or verified: a file, bytes, or a digest that somebody else computed.

use std::fs::File;
use std::path::PathBuf;

use sealwright_bundle::ArtifactHasher;
use sealwright_crypto::{Digest, HashAlgorithm, Hasher};

use crate::error::Error;
use crate::file::open_input;

/// Files up to this length are read on the spot; starting a thread costs more than hashing them.
const SMALL_BYTES: u64 = 1024 * 1024;
const CHUNK_BYTES: usize = 256 * 1024;

/// An artifact. Files are streamed: memory does not grow with them. What is neither a regular file nor open already (a named
/// pipe, a device) is refused.
///
/// ```
/// use sealwright_sdk::Artifact;
/// use sealwright_sdk::crypto::HashAlgorithm;
///
/// # tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(async {
/// let digest = Artifact::Bytes(b"release".to_vec()).digest(HashAlgorithm::Sha256).await?;
/// let same = Artifact::Digest(digest.clone()).digest(HashAlgorithm::Sha256).await?;
/// assert_eq!(digest, same);
/// # Ok::<(), sealwright_sdk::Error>(())
/// # }).expect("it is hashed");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Artifact {
    /// A file, read when it is needed.
    Path(PathBuf),
    /// Bytes in memory.
    Bytes(Vec<u8>),
    /// A digest.
    Digest(Digest),
}

impl Artifact {
    /// What a person means by an argument: `sha256:HEX` (or `sha384:`, `sha512:`) when no file has that name, a file
    /// otherwise.
    #[must_use]
    pub fn from_argument(argument: &str) -> Self {
        let path = PathBuf::from(argument);
        match parse_digest(argument) {
            Some(digest) if !path.exists() => Self::Digest(digest),
            _ => Self::Path(path),
        }
    }

    /// Its digest by one algorithm.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read, [`Error::Input`] when only another digest is known.
    pub async fn digest(&self, algorithm: HashAlgorithm) -> Result<Digest, Error> {
        match self {
            Self::Bytes(bytes) => Ok(algorithm.digest(bytes)),
            Self::Digest(digest) if digest.algorithm() == algorithm => Ok(digest.clone()),
            Self::Digest(digest) => Err(Error::input(
                format!("artifact {}", shown(digest)),
                format!(
                    "the key signs {} digests; give the file itself or its {} digest",
                    algorithm,
                    algorithm.short_name()
                ),
            )),
            Self::Path(path) => {
                let (mut hasher, path) = (Hasher::new(algorithm), path.clone());
                stream(path, move |mut chunks| {
                    while let Some(chunk) = chunks.next()? {
                        hasher.update(chunk);
                    }
                    Ok(hasher.finish())
                })
                .await
            }
        }
    }

    /// The digests a verifier asks for, in one pass.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read.
    pub async fn digests(
        &self,
        algorithms: &[HashAlgorithm],
    ) -> Result<sealwright_bundle::Artifact<'static>, Error> {
        let mut hasher = ArtifactHasher::new(algorithms);
        match self {
            Self::Digest(digest) => Ok(sealwright_bundle::Artifact::from_digest(digest.clone())),
            Self::Bytes(bytes) => {
                hasher.update(bytes);
                Ok(hasher.finish())
            }
            Self::Path(path) => {
                stream(path.clone(), move |mut chunks| {
                    while let Some(chunk) = chunks.next()? {
                        hasher.update(chunk);
                    }
                    Ok(hasher.finish())
                })
                .await
            }
        }
    }
}

/// `sha256:HEX` and its like.
fn parse_digest(text: &str) -> Option<Digest> {
    let (name, digits) = text.split_once(':')?;
    Digest::new(
        HashAlgorithm::from_short_name(name)?,
        hex::decode(digits).ok()?,
    )
    .ok()
}

fn shown(digest: &Digest) -> String {
    format!(
        "{}:{}",
        digest.algorithm().short_name(),
        hex::encode(digest.as_bytes())
    )
}

/// A file in pieces.
struct Chunks {
    file: File,
    buffer: Vec<u8>,
}

impl Chunks {
    fn next(&mut self) -> std::io::Result<Option<&[u8]>> {
        use std::io::Read as _;
        loop {
            match self.file.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => return Ok(self.buffer.get(..length)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Runs `work` over a file: at once when it is small and regular, on a thread for blocking work otherwise.
async fn stream<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce(Chunks) -> std::io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let file = open_input("artifact", &path)?;
    let file_error = |path, source| Error::File {
        what: "artifact",
        path,
        source,
    };
    let metadata = file.metadata();
    let metadata = metadata.map_err(|source| file_error(path.clone(), source))?;
    let small = metadata.is_file() && metadata.len() <= SMALL_BYTES;
    let read = move || {
        let chunks = Chunks {
            file,
            buffer: vec![0; CHUNK_BYTES],
        };
        work(chunks).map_err(|source| file_error(path, source))
    };
    if small {
        return read();
    }
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| Error::Internal(format!("hashing: {error}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_of_any_size_has_the_digest_of_its_bytes() {
        let dir = tempfile::tempdir().expect("a directory");
        for length in [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7, 2 * 1024 * 1024] {
            let path = dir.path().join(length.to_string());
            let bytes: Vec<u8> = (0..length)
                .map(|index| u8::try_from(index % 251).expect("below 251"))
                .collect();
            std::fs::write(&path, &bytes).expect("it is written");
            let digest = Artifact::Path(path)
                .digest(HashAlgorithm::Sha384)
                .await
                .expect("it is read");
            assert_eq!(digest, HashAlgorithm::Sha384.digest(&bytes));
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_named() {
        let missing = Artifact::from_argument("/nonexistent/artifact")
            .digest(HashAlgorithm::Sha256)
            .await;
        assert!(
            missing
                .expect_err("there is no file")
                .to_string()
                .contains("/nonexistent/artifact")
        );
        let digest = Artifact::Digest(HashAlgorithm::Sha256.digest(b"x"));
        let error = digest
            .digest(HashAlgorithm::Sha512)
            .await
            .expect_err("another digest");
        assert!(error.to_string().contains("sha512"), "{error}");
    }

    #[test]
    fn a_digest_can_be_given_instead_of_a_file() {
        let hex = hex::encode(HashAlgorithm::Sha256.digest(b"x").as_bytes());
        assert!(matches!(
            Artifact::from_argument(&format!("sha256:{hex}")),
            Artifact::Digest(_)
        ));
        for path in [hex.as_str(), "sha256:abcd", "md5:00", "a.tar"] {
            assert!(
                matches!(Artifact::from_argument(path), Artifact::Path(_)),
                "{path}"
            );
        }
    }
}
