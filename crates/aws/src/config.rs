//! How every client is set up: one pinned behaviour, explicit timeouts, few retries. The engine, not the SDK, waits long.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};

/// One try of one call.
const ATTEMPT: Duration = Duration::from_secs(2);
/// A call with all its tries: below the 8 s that the webhook gives its queue.
const OPERATION: Duration = Duration::from_secs(7);

/// Configuration from the environment (credentials, region, `AWS_ENDPOINT_URL`). Connects to nothing: credentials are fetched by the first
/// call that needs them, and again by the next one if that failed.
pub async fn load() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(Duration::from_secs(1))
                .operation_attempt_timeout(ATTEMPT)
                .operation_timeout(OPERATION)
                .build(),
        )
        .retry_config(RetryConfig::standard().with_max_attempts(3).with_initial_backoff(Duration::from_millis(100)))
        .load()
        .await
}

/// Timeouts of a call that may wait on purpose.
pub(crate) fn patient(wait: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(wait + ATTEMPT).operation_timeout(wait + OPERATION).build()
}
