//! Liveness and readiness: `/healthz`, `/readyz` and `grpc.health.v1`.
//!
//! Liveness says only that the process answers. Readiness asks every [`Check`] a service registered, within a deadline
//! each, and turns to "not ready" as soon as a drain begins, before the listener closes.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ::http::StatusCode;
use axum::response::Response;
use futures::Stream;
use futures::future::join_all;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthRpc, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::http;

/// How long one check may take before it counts as failed.
const CHECK_DEADLINE: Duration = Duration::from_secs(2);
/// How long a report is reused, so that nobody makes the checks expensive by asking often.
const REPORT_LIFETIME: Duration = Duration::from_millis(200);
/// How often `Watch` looks for a change.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

type Probe = dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync;

/// One thing that must be true for a service to be useful, e.g. "the log's storage is writable".
#[derive(Clone)]
pub struct Check {
    name: String,
    advisory: bool,
    probe: Arc<Probe>,
}

impl Check {
    /// A check called `name` (lower case, dotted by service: `log.storage`). The `Err` sentence is shown to whoever asks
    /// `/readyz`: no secrets, no paths.
    pub fn new<F, Fut>(name: impl Into<String>, probe: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self {
            name: name.into(),
            advisory: false,
            probe: Arc::new(move || Box::pin(probe())),
        }
    }

    /// As [`Check::new`], for what an operator should mend soon while the process serves as well as before: it is reported
    /// and does not make the process unready.
    pub fn advisory<F, Fut>(name: impl Into<String>, probe: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self {
            advisory: true,
            ..Self::new(name, probe)
        }
    }

    /// The name it is reported under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn run(&self) -> Finding {
        let started = Instant::now();
        let outcome = timeout(CHECK_DEADLINE, (self.probe)()).await;
        let detail = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(detail)) => Some(detail),
            Err(_) => Some(format!("no answer within {} s", CHECK_DEADLINE.as_secs())),
        };
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Finding {
            name: self.name.clone(),
            ok: detail.is_none(),
            advisory: self.advisory,
            detail,
            took_ms,
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

/// What one check found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The check's name.
    pub name: String,
    /// Whether it passed.
    pub ok: bool,
    /// Whether readiness does without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub advisory: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How long it took.
    #[serde(rename = "tookMs")]
    pub took_ms: u64,
}

/// The answer of `/readyz`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `SERVING` or `NOT_SERVING`.
    pub status: &'static str,
    /// Every check, in the order of registration.
    pub checks: Vec<Finding>,
}

impl Report {
    /// Whether everything passed and no drain is under way.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.status == SERVING
    }
}

const SERVING: &str = "SERVING";
const NOT_SERVING: &str = "NOT_SERVING";

/// The state of the process as probes see it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    draining: AtomicBool,
    checks: RwLock<Vec<Check>>,
    /// Also makes concurrent questions share one run of the checks.
    latest: Mutex<Option<(Instant, Report)>>,
}

impl Health {
    /// A healthy process without checks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds checks; readiness needs all of them.
    pub fn register(&self, checks: impl IntoIterator<Item = Check>) {
        self.inner
            .checks
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(checks);
    }

    /// Turns readiness off for good: the process is about to go.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::SeqCst);
    }

    /// Whether a drain has begun.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.inner.draining.load(Ordering::SeqCst)
    }

    /// Runs all checks (or reuses a report younger than 200 ms).
    pub async fn report(&self) -> Report {
        let mut latest = self.inner.latest.lock().await;
        let fresh = latest
            .as_ref()
            .filter(|(at, _)| at.elapsed() < REPORT_LIFETIME)
            .map(|(_, report)| report.clone());
        let mut report = match fresh {
            Some(report) => report,
            None => {
                let report = self.run_checks().await;
                *latest = Some((Instant::now(), report.clone()));
                report
            }
        };
        if self.draining() {
            report.status = NOT_SERVING;
            let detail = Some("the process is draining".to_owned());
            report.checks.push(Finding {
                name: "host.drain".to_owned(),
                ok: false,
                advisory: false,
                detail,
                took_ms: 0,
            });
        }
        report
    }

    async fn run_checks(&self) -> Report {
        let checks = self
            .inner
            .checks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let checks = join_all(checks.iter().map(Check::run)).await;
        let status = if checks.iter().all(|finding| finding.ok || finding.advisory) {
            SERVING
        } else {
            NOT_SERVING
        };
        Report { status, checks }
    }

    /// The answer of `/healthz`: always 200 `{"status":"SERVING"}` while the process answers at all.
    #[must_use]
    pub fn live_response(&self) -> Response {
        http::no_store(http::json(
            StatusCode::OK,
            &serde_json::json!({ "status": SERVING }),
        ))
    }

    /// The answer of `/readyz`: 200 or 503, with every check.
    pub async fn ready_response(&self) -> Response {
        let report = self.report().await;
        let status = if report.ready() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        http::no_store(http::json(status, &report))
    }

    /// The gRPC form, to be mounted with [`crate::grpc::mount`].
    #[must_use]
    pub fn grpc_service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService {
            health: self.clone(),
        })
    }

    async fn serving_status(&self) -> ServingStatus {
        if self.report().await.ready() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

/// `grpc.health.v1.Health` over [`Health`]. The empty service name means the whole process, the only one there is.
#[derive(Clone, Debug)]
pub struct HealthService {
    health: Health,
}

impl HealthService {
    fn known(request: &HealthCheckRequest) -> Result<(), tonic::Status> {
        let known = request.service.is_empty();
        known.then_some(()).ok_or_else(|| {
            tonic::Status::not_found("health is kept for the whole server: leave the name empty")
        })
    }
}

const fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status as i32,
    }
}

#[tonic::async_trait]
impl HealthRpc for HealthService {
    type WatchStream =
        Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, tonic::Status>> + Send>>;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, tonic::Status> {
        Self::known(request.get_ref())?;
        Ok(tonic::Response::new(answer(
            self.health.serving_status().await,
        )))
    }

    async fn watch(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, tonic::Status> {
        Self::known(request.get_ref())?;
        let changes =
            futures::stream::unfold((self.health.clone(), None), |(health, last)| async move {
                // A drain ends the stream with its last word, so that it does not hold the drain up.
                if last == Some(ServingStatus::NotServing) && health.draining() {
                    return None;
                }
                loop {
                    let status = health.serving_status().await;
                    if last != Some(status) {
                        return Some((Ok(answer(status)), (health, Some(status))));
                    }
                    tokio::time::sleep(WATCH_INTERVAL).await;
                }
            });
        let mut response = tonic::Response::new(Box::pin(changes) as Self::WatchStream);
        response.extensions_mut().insert(crate::run::LongLived);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readiness_needs_every_check_and_names_the_failed_one() {
        let health = Health::new();
        assert!(health.report().await.ready());
        health.register([
            Check::new("log.storage", || async { Ok(()) }),
            Check::new("ca.issuer", || async { Err("no key".to_owned()) }),
        ]);
        tokio::time::sleep(REPORT_LIFETIME).await;
        let report = health.report().await;
        assert!(!report.ready());
        assert_eq!(
            report.checks.iter().map(|f| f.ok).collect::<Vec<_>>(),
            [true, false]
        );
        assert_eq!(report.checks[1].detail.as_deref(), Some("no key"));
    }

    #[tokio::test]
    async fn a_check_that_hangs_counts_as_failed() {
        let health = Health::new();
        health.register([Check::new("ca.ct", std::future::pending)]);
        let report = health.report().await;
        assert_eq!(
            report.checks[0].detail.as_deref(),
            Some("no answer within 2 s")
        );
    }

    #[tokio::test]
    async fn a_drain_ends_readiness_at_once() {
        let health = Health::new();
        assert!(health.report().await.ready());
        health.drain();
        assert_eq!(health.ready_response().await.status(), 503);
        assert_eq!(health.live_response().status(), 200);
    }
}
