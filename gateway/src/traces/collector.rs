//! The way to the collector: one call for each batch, on the office, verified and bounded in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use doorward_config::{ServiceUrl, Tracing};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Handle;

use crate::outgoing::HttpsClient;

/// The largest answer that is read: what could not be taken, and why.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Who takes spans.
pub(super) struct Collector {
    client: Arc<HttpsClient>,
    url: ServiceUrl,
    timeout: Duration,
    office: Handle,
    /// It did not take the latest batch.
    failing: AtomicBool,
}

impl Collector {
    pub(super) fn new(rules: &Tracing, office: &Handle) -> Self {
        Self {
            client: Arc::new(HttpsClient::new(rules.ca_file.clone())),
            url: rules.endpoint.clone(),
            timeout: rules.timeout,
            office: office.clone(),
            failing: AtomicBool::new(false),
        }
    }

    /// Says it once, and not with every batch.
    fn note(&self, failure: Option<&str>) {
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !was_failing => tracing::warn!(event = "traces_not_taken", error),
            None if was_failing => tracing::info!(event = "traces_taken_again"),
            _ => {}
        }
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("url", &self.url).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, url, timeout) = (Arc::clone(&self.client), self.url.clone(), self.timeout);
        let (head, body) = request.into_parts();
        let mut sent = Request::post(&url.path);
        if let Some(content_type) = head.headers.get(CONTENT_TYPE) {
            sent = sent.header(CONTENT_TYPE, content_type);
        }
        // The library asks from a thread of its own, which has no runtime.
        let call = self.office.spawn(async move {
            let sending = client.send(&url, sent, body, ANSWER_BYTES_MAX);
            tokio::time::timeout(timeout, sending).await
        });
        let answer = match call.await {
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(error))) => Err(error.into()),
            Ok(Err(elapsed)) => Err(elapsed.into()),
            Err(ended) => Err(ended.into()),
        };
        match &answer {
            Ok(answer) if answer.status().is_success() => self.note(None),
            Ok(answer) => self.note(Some(answer.status().as_str())),
            Err(error) => self.note(Some(&HttpError::to_string(error))),
        }
        answer
    }
}
