//! `GET /api/v2/shards`: every log of the process in one answer, the same from every host.
//!
//! Each row carries the log's key and its newest checkpoint, signed by that key, so that it proves itself and the list
//! needs no signature of its own. Who trusts a key is not said here but in the trust root.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use sealwright_crypto::{base64, sha256};
use sealwright_host::http as host_http;
use sealwright_host::{ServiceError, SharedClock};
use sealwright_proto::Timestamp;
use serde::Serialize;

use crate::kind::Kind;
use crate::shards::{Shard, ShardState, Shards};

/// Seconds for which an answer may be used again, by us and by others. Sizes are that old at most.
const MAX_AGE: u32 = 2;

/// The route.
pub(crate) fn router(shards: Shards, clock: SharedClock) -> Router {
    let state = Listing {
        shards,
        clock,
        kept: Arc::default(),
    };
    Router::new()
        .route("/api/v2/shards", get(list).fallback(only_get))
        .with_state(state)
}

async fn only_get() -> ServiceError {
    host_http::method_not_allowed("GET, HEAD")
}

#[derive(Debug, Clone)]
struct Listing {
    shards: Shards,
    clock: SharedClock,
    /// The last answer, with when it was made, Unix seconds.
    kept: Arc<Mutex<Option<(i64, Bytes)>>>,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Answer {
    shards: Vec<Row>,
}

/// One log. 64-bit numbers are strings and bytes base64, as in protocol buffers' JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    /// `rekor` or `ct`, as in the configuration.
    kind: Kind,
    /// `staged`, `active`, `frozen` or `imported`.
    state: &'static str,
    origin: String,
    base_url: String,
    /// As the trusted root has it.
    log_id: String,
    /// SubjectPublicKeyInfo, DER.
    public_key: String,
    /// The key in the form of C2SP signed notes, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    vkey: Option<String>,
    tree_size: String,
    /// Absent for a log that another signed: only the trust root can say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_for: Option<ValidFor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    /// The signed note.
    checkpoint: String,
}

#[derive(Debug, Serialize)]
struct ValidFor {
    start: String,
}

impl Row {
    fn of(shard: &Shard) -> Self {
        let (identity, key, head) = (shard.log.identity(), shard.log.key(), shard.log.tree_head());
        let state = shard.gate.state();
        Self {
            name: identity.name.clone(),
            kind: identity.kind,
            state: state.name(),
            origin: identity.origin.clone(),
            base_url: shard.url.clone(),
            log_id: base64::encode(&key.log_id()),
            public_key: base64::encode(key.public_key().spki_der()),
            vkey: key.to_vkey(),
            tree_size: head.size.to_string(),
            valid_for: (state != ShardState::Imported).then(|| ValidFor {
                start: time(shard.valid_from()),
            }),
            replaces: shard.replaces.clone(),
            checkpoint: String::from_utf8_lossy(&head.checkpoint).into_owned(),
        }
    }
}

/// RFC 3339 in UTC.
fn time(seconds: i64) -> String {
    let time = serde_json::to_value(Timestamp { seconds, nanos: 0 }).unwrap_or_default();
    time.as_str().unwrap_or_default().replace("+00:00", "Z")
}

impl Listing {
    fn answer(&self) -> Bytes {
        let now = self.clock.unix();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, bytes)) = kept.as_ref()
            && (*made..*made + i64::from(MAX_AGE)).contains(&now)
        {
            return bytes.clone();
        }
        let shards = self
            .shards
            .all()
            .iter()
            .map(|shard| Row::of(shard))
            .collect();
        // Text and numbers always have a JSON form.
        let bytes: Bytes = serde_json::to_vec(&Answer { shards })
            .unwrap_or_default()
            .into();
        *kept = Some((now, bytes.clone()));
        bytes
    }
}

async fn list(State(listing): State<Listing>, headers: HeaderMap) -> Response {
    let bytes = listing.answer();
    let tag = hex::encode(sha256(&bytes));
    let response = host_http::bytes(StatusCode::OK, host_http::JSON, bytes);
    host_http::cache_for(host_http::tagged(&headers, &tag, response), MAX_AGE)
}
