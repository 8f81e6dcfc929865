//! An issuer's keys, and the cache that cannot be made to hammer the provider.
//!
//! Invariants of [`KeyCache`]:
//! - at most one fetch is in flight for an issuer; whoever needs its result waits for that one;
//! - between two fetches lie [`MIN_REFETCH_SECONDS`], whatever tokens arrive; after a failure the pause begins at one
//!   second and doubles up to that, so that a provider that comes back is noticed soon;
//! - a fetch outlives the request that caused it: a caller that hangs up does not waste the interval;
//! - keys are renewed behind the requests that use them once they are `refresh_after` old, and keys older than the
//!   hard limit are not used at all, so that a key the provider withdrew does not stay trusted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openidconnect::core::{CoreJsonWebKey, CoreJsonWebKeySet};
use openidconnect::{JsonWebKey as _, JsonWebKeyAlgorithm, core::CoreJsonWebKeyUse};
use sealwright_crypto::{KeyType, PublicKey, base64};
use tokio::sync::watch;

use crate::discovery::{Fetched, Provider};
use crate::error::{FetchError, TokenError};
use crate::token::{JwsAlgorithm, SignedToken};

/// The shortest time between two fetches from one provider, in seconds.
pub const MIN_REFETCH_SECONDS: i64 = 30;

/// Keys are renewed after at least this time, whatever the provider's `max-age`: 5 minutes.
pub const MIN_REFRESH_SECONDS: i64 = 5 * 60;

/// Keys are renewed after at most this time: 24 hours.
pub const MAX_REFRESH_SECONDS: i64 = 24 * 60 * 60;

/// Keys are renewed after this time when the provider does not say: 1 hour.
pub const DEFAULT_REFRESH_SECONDS: i64 = 60 * 60;

/// The most keys that are taken from a set.
const MAX_KEYS: usize = 64;

/// The most keys that are tried for a token without `kid`.
const MAX_CANDIDATES: usize = 8;

/// The shortest RSA modulus accepted (RFC 7518 section 3.3).
const MIN_RSA_BITS: u32 = 2048;

/// The usable signing keys of an issuer.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, Clone)]
struct Key {
    kid: Option<String>,
    /// The only algorithm the issuer uses it with, when it says so.
    alg: Option<JwsAlgorithm>,
    public: PublicKey,
}

impl KeySet {
    /// Reads a JWK set (RFC 7517). Keys that are not for signatures, or of a kind that is not accepted, are left out.
    ///
    /// # Errors
    /// [`FetchError::NotUnderstood`] when it is not a set, [`FetchError::NoKeys`] when no key is left.
    pub fn from_json(json: &[u8]) -> Result<Self, FetchError> {
        let set: CoreJsonWebKeySet =
            serde_json::from_slice(json).map_err(|_| FetchError::NotUnderstood {
                url: String::new(),
                wanted: "a JSON Web Key Set",
            })?;
        let keys: Vec<Key> = set
            .keys()
            .iter()
            .filter_map(read_key)
            .take(MAX_KEYS)
            .collect();
        if keys.is_empty() {
            Err(FetchError::NoKeys)
        } else {
            Ok(Self { keys })
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Checks a token's signature with the key it names, or, when it names none, with each that fits.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`] when no key fits, [`TokenError::BadSignature`] when those that fit do not verify.
    pub fn verify(&self, token: &SignedToken<'_>, issuer: &str) -> Result<(), TokenError> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| key.fits(token))
            .take(MAX_CANDIDATES)
            .peekable();
        if fitting.peek().is_none() {
            return Err(TokenError::UnknownKey {
                issuer: issuer.to_owned(),
                kid: token.kid().map(crate::error::echo),
                alg: token.alg().name(),
            });
        }
        if fitting.any(|key| token.verify(&key.public).is_ok()) {
            Ok(())
        } else {
            Err(TokenError::BadSignature)
        }
    }
}

impl Key {
    fn fits(&self, token: &SignedToken<'_>) -> bool {
        let named = token
            .kid()
            .is_none_or(|kid| self.kid.as_deref() == Some(kid));
        let allowed = self.alg.is_none_or(|alg| alg == token.alg());
        named && allowed && token.alg().with_key(self.public.key_type()).is_some()
    }
}

fn read_key(jwk: &CoreJsonWebKey) -> Option<Key> {
    if jwk
        .key_use()
        .is_some_and(|key_use| *key_use != CoreJsonWebKeyUse::Signature)
    {
        return None;
    }
    // The members of a key are private to openidconnect; its JSON form is the way to them.
    let members = serde_json::to_value(jwk).ok()?;
    let text = |name: &str| members.get(name).and_then(serde_json::Value::as_str);
    let alg = match jwk.signing_alg() {
        JsonWebKeyAlgorithm::Unspecified => None,
        JsonWebKeyAlgorithm::Algorithm(_) => Some(JwsAlgorithm::from_name(text("alg")?)?),
        JsonWebKeyAlgorithm::Unsupported => return None,
    };
    let bytes = |name: &str| base64::decode_lenient(text(name)?).ok();
    let public = match (text("kty")?, text("crv")) {
        ("RSA", _) => PublicKey::from_rsa_components(&bytes("n")?, &bytes("e")?).ok()?,
        ("EC", Some(crv)) => {
            PublicKey::from_ec_coordinates(curve(crv)?, &bytes("x")?, &bytes("y")?).ok()?
        }
        ("OKP", Some("Ed25519")) => {
            PublicKey::from_ed25519_raw(bytes("x")?.as_slice().try_into().ok()?).ok()?
        }
        _ => return None,
    };
    let strong = !matches!(public.key_type(), KeyType::Rsa { bits } if bits < MIN_RSA_BITS);
    strong.then(|| Key {
        kid: text("kid").map(str::to_owned),
        alg,
        public,
    })
}

fn curve(crv: &str) -> Option<KeyType> {
    match crv {
        "P-256" => Some(KeyType::EcP256),
        "P-384" => Some(KeyType::EcP384),
        "P-521" => Some(KeyType::EcP521),
        _ => None,
    }
}

/// The keys of one issuer, fetched when needed and kept.
#[derive(Debug)]
pub struct KeyCache {
    /// `None` for keys from a file, which are neither renewed nor stale.
    provider: Option<Provider>,
    max_age: i64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    attempted_at: Option<i64>,
    /// Attempts that failed since the last that did not.
    failures: u32,
    last_error: Option<FetchError>,
    /// Changes once when the fetch in flight has ended; closed without a change when its task died.
    in_flight: Option<watch::Receiver<()>>,
}

#[derive(Debug)]
struct Held {
    keys: Arc<KeySet>,
    fetched_at: i64,
    refresh_after: i64,
}

/// The state of a cache, for health checks and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheState {
    /// How many keys are held and usable.
    pub keys: usize,
    /// The age of the keys held, in seconds.
    pub age: Option<i64>,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<FetchError>,
    /// Seconds until a fetch may be made.
    pub retry_after: i64,
}

impl KeyCache {
    /// A cache before a provider. Keys older than `max_age` seconds are not used.
    pub fn new(provider: Provider, max_age: i64) -> Self {
        Self {
            provider: Some(provider),
            max_age,
            state: Mutex::default(),
        }
    }

    /// Keys that never change, from a file.
    pub fn fixed(keys: KeySet) -> Self {
        let held = Held {
            keys: Arc::new(keys),
            fetched_at: 0,
            refresh_after: i64::MAX,
        };
        Self {
            provider: None,
            max_age: i64::MAX,
            state: Mutex::new(State {
                held: Some(held),
                ..State::default()
            }),
        }
    }

    /// Checks a token's signature at `now` with the keys held; when that fails, with newer ones, if a fetch is
    /// allowed.
    ///
    /// # Errors
    /// [`TokenError::UnknownKey`], [`TokenError::BadSignature`], or [`TokenError::ProviderUnavailable`] when there are
    /// no usable keys at all.
    pub async fn verify(
        self: &Arc<Self>,
        token: &SignedToken<'_>,
        issuer: &str,
        now: i64,
    ) -> Result<(), TokenError> {
        let held = self.usable(now);
        let verdict = held.as_ref().map(|keys| keys.verify(token, issuer));
        if let Some(Ok(())) = verdict {
            self.refresh_if_due(now);
            return Ok(());
        }
        match self.renew(now).await {
            Some(keys) => keys.verify(token, issuer),
            None => verdict.unwrap_or_else(|| Err(self.unavailable(issuer, now))),
        }
    }

    /// Fetches the keys unless usable ones are held or a fetch is not allowed yet: for start-up and health checks.
    pub async fn warm(self: &Arc<Self>, now: i64) {
        if self.usable(now).is_none() {
            self.renew(now).await;
        }
    }

    /// What is held at `now`.
    pub fn state(&self, now: i64) -> CacheState {
        let state = self.lock();
        let fixed = self.provider.is_none();
        CacheState {
            keys: state.usable(now, self.max_age).map_or(0, |keys| keys.len()),
            age: state
                .held
                .as_ref()
                .filter(|_| !fixed)
                .map(|held| now - held.fetched_at),
            last_error: state.last_error.clone(),
            retry_after: if fixed { 0 } else { state.retry_after(now) },
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self, now: i64) -> Option<Arc<KeySet>> {
        self.lock().usable(now, self.max_age)
    }

    fn unavailable(&self, issuer: &str, now: i64) -> TokenError {
        let state = self.lock();
        let stale = state.held.as_ref().map(|held| FetchError::Stale {
            age: now - held.fetched_at,
            limit: self.max_age,
        });
        let why = state
            .last_error
            .clone()
            .or(stale)
            .unwrap_or(FetchError::NotTried);
        TokenError::ProviderUnavailable {
            issuer: issuer.to_owned(),
            why,
            retry_after: state.retry_after(now),
        }
    }

    /// Starts a fetch and does not wait for it, when the keys held are due.
    fn refresh_if_due(self: &Arc<Self>, now: i64) {
        let mut state = self.lock();
        let due = state
            .held
            .as_ref()
            .is_some_and(|held| now - held.fetched_at >= held.refresh_after);
        if due && state.flying().is_none() {
            self.start_fetch(&mut state, now);
        }
    }

    /// Waits for the fetch in flight, or for one of its own when allowed. `None` when neither brought keys.
    async fn renew(self: &Arc<Self>, now: i64) -> Option<Arc<KeySet>> {
        let mut ended = {
            let mut state = self.lock();
            match state.flying() {
                Some(ended) => ended,
                None => self.start_fetch(&mut state, now)?,
            }
        };
        // An error says that the task died; the state then shows an attempt without an outcome.
        let _ = ended.changed().await;
        let state = self.lock();
        if state.failures == 0 {
            state.usable(now, self.max_age)
        } else {
            None
        }
    }

    /// Starts a fetch in a task of its own. `None` when it is not allowed yet, or when there is no provider.
    fn start_fetch(self: &Arc<Self>, state: &mut State, now: i64) -> Option<watch::Receiver<()>> {
        self.provider.as_ref()?;
        if state.retry_after(now) > 0 {
            return None;
        }
        let (end, ended) = watch::channel(());
        state.attempted_at = Some(now);
        state.in_flight = Some(ended.clone());
        let cache = Arc::clone(self);
        tokio::spawn(async move {
            if let Some(provider) = &cache.provider {
                let outcome = provider.fetch().await;
                cache.lock().settle(outcome, now);
            }
            let _ = end.send(());
        });
        Some(ended)
    }
}

impl State {
    fn usable(&self, now: i64, max_age: i64) -> Option<Arc<KeySet>> {
        let held = self
            .held
            .as_ref()
            .filter(|held| now.saturating_sub(held.fetched_at) <= max_age)?;
        Some(Arc::clone(&held.keys))
    }

    /// The fetch in flight, unless its task died.
    fn flying(&self) -> Option<watch::Receiver<()>> {
        self.in_flight
            .clone()
            .filter(|ended| ended.has_changed().is_ok())
    }

    /// Seconds until the next fetch is allowed. A clock that was set back does not prolong the pause.
    fn retry_after(&self, now: i64) -> i64 {
        let Some(attempted_at) = self.attempted_at.filter(|at| *at <= now) else {
            return 0;
        };
        let pause = match self.failures {
            0 => MIN_REFETCH_SECONDS,
            failures => MIN_REFETCH_SECONDS.min(1 << (failures - 1).min(10)),
        };
        (attempted_at + pause - now).max(0)
    }

    fn settle(&mut self, outcome: Result<Fetched, FetchError>, now: i64) {
        self.in_flight = None;
        match outcome {
            Ok(Fetched { keys, max_age }) => {
                let refresh_after = max_age
                    .unwrap_or(DEFAULT_REFRESH_SECONDS)
                    .clamp(MIN_REFRESH_SECONDS, MAX_REFRESH_SECONDS);
                self.held = Some(Held {
                    keys: Arc::new(keys),
                    fetched_at: now,
                    refresh_after,
                });
                self.failures = 0;
                self.last_error = None;
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeProvider, Minter, NOW};
    use std::time::Duration;

    const DAY: i64 = 24 * 60 * 60;

    fn cache_of(fake: &FakeProvider) -> Arc<KeyCache> {
        Arc::new(KeyCache::new(
            Provider::new(fake.issuer(), &[], None, true).unwrap(),
            DAY,
        ))
    }

    async fn verify(cache: &Arc<KeyCache>, minter: &Minter, now: i64) -> Result<(), TokenError> {
        let token = minter.sign("{}");
        cache
            .verify(&SignedToken::parse(&token).unwrap(), "https://idp", now)
            .await
    }

    #[tokio::test]
    async fn a_flood_of_unknown_keys_costs_one_fetch() {
        let known = Minter::es256("known");
        let fake = FakeProvider::start(std::slice::from_ref(&known)).await;
        let cache = cache_of(&fake);
        verify(&cache, &known, NOW).await.unwrap();
        assert_eq!(fake.key_fetches(), 1);

        let mut flood = Vec::new();
        for n in 0..20 {
            let cache = Arc::clone(&cache);
            let minter = Minter::es256(&format!("unknown-{n}"));
            flood.push(tokio::spawn(async move {
                verify(&cache, &minter, NOW + MIN_REFETCH_SECONDS).await
            }));
        }
        for token in flood {
            assert!(matches!(
                token.await.unwrap(),
                Err(TokenError::UnknownKey { .. })
            ));
        }
        assert_eq!(
            fake.key_fetches(),
            2,
            "one for the start, one for the flood"
        );
        verify(&cache, &known, NOW + MIN_REFETCH_SECONDS)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn many_first_requests_share_one_fetch() {
        let known = Arc::new(Minter::es256("known"));
        let fake = FakeProvider::start(&[Minter::clone(&known)]).await;
        fake.set_delay(Duration::from_millis(50));
        let cache = cache_of(&fake);
        let requests: Vec<_> = (0..20)
            .map(|_| {
                let (cache, known) = (Arc::clone(&cache), Arc::clone(&known));
                tokio::spawn(async move { verify(&cache, &known, NOW).await })
            })
            .collect();
        for request in requests {
            request.await.unwrap().unwrap();
        }
        assert_eq!(fake.key_fetches(), 1);
    }

    #[tokio::test]
    async fn a_rotated_key_is_picked_up_and_the_old_one_dropped() {
        let (old, new) = (Minter::es256("old"), Minter::es256("new"));
        let fake = FakeProvider::start(std::slice::from_ref(&old)).await;
        let cache = cache_of(&fake);
        verify(&cache, &old, NOW).await.unwrap();
        fake.rotate(std::slice::from_ref(&new));
        let soon = NOW + MIN_REFETCH_SECONDS - 1;
        assert!(matches!(
            verify(&cache, &new, soon).await,
            Err(TokenError::UnknownKey { .. })
        ));
        verify(&cache, &new, soon + 1).await.unwrap();
        assert!(matches!(
            verify(&cache, &old, soon + 1).await,
            Err(TokenError::UnknownKey { .. })
        ));
    }

    #[tokio::test]
    async fn a_key_replaced_under_its_old_name_is_picked_up() {
        let (old, new) = (Minter::es256("same"), Minter::es256("same"));
        let fake = FakeProvider::start(std::slice::from_ref(&old)).await;
        let cache = cache_of(&fake);
        verify(&cache, &old, NOW).await.unwrap();
        assert_eq!(
            verify(&cache, &new, NOW + 1).await,
            Err(TokenError::BadSignature)
        );
        fake.rotate(std::slice::from_ref(&new));
        verify(&cache, &new, NOW + MIN_REFETCH_SECONDS)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn keys_are_renewed_behind_the_request_and_never_used_when_too_old() {
        let minter = Minter::es256("k");
        let fake = FakeProvider::start(std::slice::from_ref(&minter)).await;
        let cache = cache_of(&fake);
        verify(&cache, &minter, NOW).await.unwrap();
        fake.set_status(500);
        let due = NOW + DEFAULT_REFRESH_SECONDS;
        verify(&cache, &minter, due)
            .await
            .expect("old keys still serve");
        while cache.state(due).last_error.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        verify(&cache, &minter, NOW + DAY)
            .await
            .expect("the limit itself");
        let refused = verify(&cache, &minter, NOW + DAY + 60).await;
        assert!(
            matches!(refused, Err(TokenError::ProviderUnavailable { .. })),
            "{refused:?}"
        );
        fake.set_status(200);
        verify(&cache, &minter, NOW + DAY + 120).await.unwrap();
        assert_eq!(cache.state(NOW + DAY + 120).age, Some(0));
    }

    #[tokio::test]
    async fn failures_are_remembered_for_a_growing_time() {
        let minter = Minter::es256("k");
        let fake = FakeProvider::start(std::slice::from_ref(&minter)).await;
        fake.set_status(503);
        let cache = cache_of(&fake);
        let mut now = NOW;
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            let before = fake.requests();
            for _ in 0..5 {
                let refused = verify(&cache, &minter, now).await;
                let Err(TokenError::ProviderUnavailable {
                    why: FetchError::Status { status: 503, .. },
                    retry_after,
                    ..
                }) = refused
                else {
                    panic!("{refused:?}")
                };
                assert_eq!(retry_after, pause);
            }
            assert_eq!(fake.requests(), before + 1);
            now += pause;
        }
        fake.set_status(200);
        verify(&cache, &minter, now).await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_that_hangs_up_does_not_waste_the_fetch() {
        let minter = Minter::es256("k");
        let fake = FakeProvider::start(std::slice::from_ref(&minter)).await;
        fake.set_delay(Duration::from_millis(100));
        let cache = cache_of(&fake);
        let hung_up =
            tokio::time::timeout(Duration::from_millis(10), verify(&cache, &minter, NOW)).await;
        assert!(hung_up.is_err());
        verify(&cache, &minter, NOW).await.unwrap();
        assert_eq!(fake.key_fetches(), 1);
    }

    #[tokio::test]
    async fn keys_from_a_file_never_age() {
        let (known, unknown) = (Minter::es256("k"), Minter::es256("u"));
        let cache = Arc::new(KeyCache::fixed(
            KeySet::from_json(Minter::jwks(std::slice::from_ref(&known)).as_bytes()).unwrap(),
        ));
        verify(&cache, &known, NOW + 100 * DAY).await.unwrap();
        assert!(matches!(
            verify(&cache, &unknown, NOW).await,
            Err(TokenError::UnknownKey { .. })
        ));
    }

    #[test]
    fn only_signing_keys_of_the_accepted_kinds_are_taken() {
        let good = Minter::es256("k");
        let jwk = good.jwk();
        let variants = [
            ("\"use\":\"sig\"", "\"use\":\"enc\"", false),
            ("\"use\":\"sig\"", "\"use\":\"sig\",\"alg\":\"ES256\"", true),
            (
                "\"use\":\"sig\"",
                "\"use\":\"sig\",\"alg\":\"ECDH-ES\"",
                false,
            ),
            (
                "\"use\":\"sig\"",
                "\"use\":\"sig\",\"alg\":\"HS256\"",
                false,
            ),
            ("\"use\":\"sig\"", "\"x5t\":\"abc\"", true),
            ("\"crv\":\"P-256\"", "\"crv\":\"P-384\"", false),
            ("\"crv\":\"P-256\"", "\"crv\":\"secp256k1\"", false),
            ("\"kty\":\"EC\"", "\"kty\":\"oct\"", false),
        ];
        for (from, to, taken) in variants {
            let set = format!("{{\"keys\":[{}]}}", jwk.replace(from, to));
            assert_eq!(KeySet::from_json(set.as_bytes()).is_ok(), taken, "{to}");
        }
        for neighbour in [
            r#"{"kty":"future"}"#,
            r#"{"kty":"EC","use":"sig"}"#,
            r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#,
            r#"{"kty":"RSA","n":"!","e":"AQAB"}"#,
            r#"{"kty":"RSA","n":"AQAB"}"#,
            r#"{"kty":"OKP","crv":"X25519","x":"AA"}"#,
            r#"{"kty":"EC","crv":"P-256","use":7}"#,
            r#"{"use":"sig"}"#,
            r#"7"#,
        ] {
            let mixed = format!("{{\"keys\":[{neighbour},{jwk}]}}");
            let taken = KeySet::from_json(mixed.as_bytes());
            assert_eq!(taken.map(|set| set.len()), Ok(1), "{neighbour}");
        }
    }

    #[test]
    fn a_key_serves_only_the_algorithm_it_is_published_for() {
        let minter = Minter::rs256("k");
        let set = |alg: &str| {
            format!(
                "{{\"keys\":[{}]}}",
                minter
                    .jwk()
                    .replace("\"use\"", &format!("\"alg\":\"{alg}\",\"use\""))
            )
        };
        let token = minter.sign("{}");
        let token = SignedToken::parse(&token).unwrap();
        assert_eq!(
            KeySet::from_json(set("RS256").as_bytes())
                .unwrap()
                .verify(&token, "i"),
            Ok(())
        );
        let other = KeySet::from_json(set("PS256").as_bytes()).unwrap();
        assert!(matches!(
            other.verify(&token, "i"),
            Err(TokenError::UnknownKey { .. })
        ));
    }

    #[test]
    fn a_token_without_a_key_id_is_tried_with_every_key_that_fits() {
        let minters = [Minter::es256("a"), Minter::es256("b"), Minter::rs256("c")];
        let set = KeySet::from_json(Minter::jwks(&minters).as_bytes()).unwrap();
        for minter in &minters {
            let token = minter.sign_without_kid("{}");
            assert_eq!(
                set.verify(&SignedToken::parse(&token).unwrap(), "i"),
                Ok(())
            );
        }
        let token = Minter::es256("z").sign_without_kid("{}");
        assert_eq!(
            set.verify(&SignedToken::parse(&token).unwrap(), "i"),
            Err(TokenError::BadSignature)
        );
    }
}
