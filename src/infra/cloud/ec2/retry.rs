//! Which failures are worth repeating at once, and how.

use aws_sdk_ec2::config::interceptors::InterceptorContext;
use aws_sdk_ec2::config::retry::{ClassifyRetry, RetryAction, RetryConfig};
use aws_sdk_ec2::config::timeout::TimeoutConfig;
use aws_sdk_ec2::error::ProvideErrorMetadata;
use aws_sdk_ec2::operation::run_instances::RunInstancesError;
use aws_sdk_ec2::operation::start_instances::StartInstancesError;

use super::config::Config;
use super::error;

/// Exponential back-off with jitter. Not the SDK's adaptive mode: its client-side rate limit is shared by all
/// calls, so a throttled listing would hold a fence back.
pub(super) fn retries(config: &Config) -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(config.attempts.max(1))
        .with_initial_backoff(config.backoff.initial)
        .with_max_backoff(config.backoff.max)
}

pub(super) fn timeouts(config: &Config) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(config.timeouts.connect)
        .read_timeout(config.timeouts.read)
        .operation_attempt_timeout(config.timeouts.attempt)
        .operation_timeout(config.timeouts.operation)
        .build()
}

/// Want of capacity comes with status 500, which the SDK takes for a hiccup and repeats. It is an answer: it
/// lasts minutes, and the pool has better things to try than the same request again.
#[derive(Debug)]
pub(super) struct CapacityIsAnAnswer;

impl ClassifyRetry for CapacityIsAnAnswer {
    fn classify_retry(&self, ctx: &InterceptorContext) -> RetryAction {
        let Some(Err(failure)) = ctx.output_or_error() else {
            return RetryAction::NoActionIndicated;
        };
        let Some(refusal) = failure.as_operation_error() else {
            return RetryAction::NoActionIndicated;
        };
        let launch = refusal
            .downcast_ref::<RunInstancesError>()
            .and_then(ProvideErrorMetadata::code);
        let start = refusal
            .downcast_ref::<StartInstancesError>()
            .and_then(ProvideErrorMetadata::code);
        match launch.or(start) {
            Some(code) if error::is_capacity(code) => RetryAction::RetryForbidden,
            Some(_) | None => RetryAction::NoActionIndicated,
        }
    }

    fn name(&self) -> &'static str {
        "capacity is an answer"
    }
}
