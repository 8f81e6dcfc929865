//! Compressed entry bundles.
//!
//! A bundle of signature entries is JSON around base64 and shrinks to less than half; tiles are hashes and do not. A client
//! that takes gzip gets it. The work is done once for bundles that are asked for often, on threads that no writer waits
//! for, and by few at a time: when all are busy, the answer goes out as it is.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Bytes of compressed bundles that are kept.
const CACHE_BYTES: usize = 8 << 20;
/// Bundles that are compressed at one time.
const AT_ONCE: usize = 2;
/// Below this there is nothing to gain: the answer fits in one packet.
const LEAST_BYTES: usize = 1024;

/// Whether the client takes gzip (RFC 9110 section 12.5.3).
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT_ENCODING).into_iter();
    let codings = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    let (mut named, mut any) = (None, None);
    for coding in codings {
        let (name, weight) = weighted(coding);
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            named = Some(weight);
        } else if name == "*" {
            any = Some(weight);
        }
    }
    named.or(any).is_some_and(|weight| weight > 0.0)
}

/// An element of a list with weights: its name, and its `q`, 1 when there is none and 0 when it is no number.
pub(crate) fn weighted(element: &str) -> (&str, f32) {
    let mut parts = element.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts
        .find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then_some(value.trim())
        })
        .map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
    (name, weight)
}

/// Compresses, and keeps what was asked for last.
#[derive(Debug)]
pub(crate) struct Compressor {
    cache: Mutex<Cache>,
    permits: Semaphore,
}

impl Default for Compressor {
    fn default() -> Self {
        Self {
            cache: Mutex::default(),
            permits: Semaphore::new(AT_ONCE),
        }
    }
}

impl Compressor {
    /// `bytes` in gzip; `None` when that does not help, or nobody is free to do it. Equal names mean equal bytes.
    pub(crate) async fn gzip(self: &Arc<Self>, name: &str, bytes: &Bytes) -> Option<Bytes> {
        if bytes.len() < LEAST_BYTES {
            return None;
        }
        if let Some(kept) = self.cache().get(name) {
            return Some(kept);
        }
        let _permit = self.permits.try_acquire().ok()?;
        let raw = bytes.clone();
        let smaller = spawn_blocking(move || compress(&raw)).await.ok()??;
        self.cache().put(name, smaller.clone());
        Some(smaller)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn compress(bytes: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).ok()?;
    let smaller = encoder.finish().ok()?;
    (smaller.len() < bytes.len()).then(|| smaller.into())
}

/// The newest answers, up to [`CACHE_BYTES`] of them.
#[derive(Debug, Default)]
struct Cache {
    /// With when each was last asked for, counted in questions.
    kept: HashMap<String, (Bytes, u64)>,
    bytes: usize,
    questions: u64,
}

impl Cache {
    fn get(&mut self, name: &str) -> Option<Bytes> {
        self.questions += 1;
        let (bytes, asked) = self.kept.get_mut(name)?;
        *asked = self.questions;
        Some(bytes.clone())
    }

    fn put(&mut self, name: &str, bytes: Bytes) {
        if bytes.len() > CACHE_BYTES {
            return;
        }
        self.bytes += bytes.len();
        if let Some((old, _)) = self.kept.insert(name.to_owned(), (bytes, self.questions)) {
            self.bytes -= old.len();
        }
        while self.bytes > CACHE_BYTES {
            let oldest = self.kept.iter().min_by_key(|(_, (_, asked))| *asked);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else {
                return;
            };
            if let Some((old, _)) = self.kept.remove(&name) {
                self.bytes -= old.len();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http::HeaderValue;

    use super::*;

    #[test]
    fn gzip_is_taken_where_it_is_wanted() {
        let wants = |value: &'static str| {
            accepts_gzip(&HeaderMap::from_iter([(
                ACCEPT_ENCODING,
                HeaderValue::from_static(value),
            )]))
        };
        for taken in [
            "gzip",
            "br, GZIP;q=0.1",
            "*",
            "identity;q=0, *;q=0.5",
            "x-gzip",
        ] {
            assert!(wants(taken), "{taken}");
        }
        for not in [
            "",
            "br",
            "gzip;q=0",
            "*, gzip;q=0.0",
            "gzip;q=x",
            "identity",
        ] {
            assert!(!wants(not), "{not}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_bundle_is_compressed_once_and_comes_back_whole() {
        let compressor = Arc::new(Compressor::default());
        let bytes = Bytes::from(vec![b'a'; 100_000]);
        let first = compressor.gzip("one", &bytes).await.unwrap();
        let again = compressor.gzip("one", &Bytes::from(vec![0; 5000])).await;
        assert_eq!(again.unwrap(), first, "it was kept");
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(first.as_ref())
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, bytes);
        let random: Vec<u8> = (0..200)
            .flat_map(|_| sealwright_crypto::random_bytes::<32>())
            .collect();
        assert_eq!(compressor.gzip("noise", &random.into()).await, None);
        assert_eq!(compressor.gzip("short", &bytes.slice(..100)).await, None);
        let all = compressor.permits.acquire_many(AT_ONCE as u32).await;
        assert_eq!(compressor.gzip("busy", &bytes).await, None);
        drop(all);
        assert!(compressor.gzip("busy", &bytes).await.is_some());
    }

    #[test]
    fn what_was_not_asked_for_lately_goes_first() {
        let mut cache = Cache::default();
        let third = Bytes::from(vec![0; CACHE_BYTES / 3]);
        for name in ["a", "b", "c"] {
            assert_eq!(cache.get(name), None);
            cache.put(name, third.clone());
        }
        assert!(cache.get("a").is_some());
        cache.put("d", third.clone());
        assert!(cache.bytes <= CACHE_BYTES);
        assert_eq!(cache.get("b"), None);
        for kept in ["a", "c", "d"] {
            assert!(cache.get(kept).is_some(), "{kept}");
        }
        cache.put("a", Bytes::new());
        assert_eq!(cache.bytes, 2 * third.len());
        cache.put("huge", vec![0; CACHE_BYTES + 1].into());
        assert_eq!(cache.get("huge"), None);
    }
}
