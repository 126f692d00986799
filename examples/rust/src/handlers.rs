//! What jobs of the type "conformance" do. Put your own here.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Number, Value, json};
use tokio::time::sleep;

use crate::contract::{
    Assignment, Failure, JobError, JobSpec, LeaseUpdate, Release, SubmitJobRequest, Success, content, json_payload,
    outcome::Outcome,
};

/// The payload of a job.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Order {
    Echo {
        #[serde(default)]
        value: Value,
    },
    Fail,
    FailForGood,
    Sleep {
        seconds: Number,
    },
    Progress {
        steps: u32,
    },
    Release,
    RetryAfter {
        seconds: f64,
    },
    Checkpoint,
    FollowUp {
        r#type: String,
        #[serde(default)]
        value: Value,
    },
    Big {
        bytes: usize,
    },
}

/// Runs one attempt. When the job has to stop, this future is dropped at the await it has come to.
pub async fn run(assignment: Assignment, update: impl Fn(LeaseUpdate)) -> Outcome {
    let order = match serde_json::from_slice(content(assignment.payload.as_ref())) {
        Ok(order) => order,
        Err(error) => return failure("BadPayload", error.to_string(), false),
    };
    match order {
        Order::Echo { value } => success(value),
        Order::Fail => boom(),
        Order::FailForGood => failure("Boom", "failed for good, as asked", false),
        Order::Sleep { seconds } => {
            sleep(Duration::from_secs_f64(seconds.as_f64().unwrap_or_default())).await;
            success(json!({ "slept": seconds }))
        }
        Order::Progress { steps } => {
            for step in 1..=steps {
                update(LeaseUpdate {
                    progress_percent: Some(100.0 * f64::from(step) / f64::from(steps)),
                    progress_message: format!("step {step} of {steps}"),
                    ..Default::default()
                });
                sleep(Duration::from_millis(100)).await;
            }
            success(json!({ "steps": steps }))
        }
        Order::Release if assignment.fence == 1 => release("the payload asks for it"),
        Order::Release => success(json!({ "fence": assignment.fence })),
        Order::RetryAfter { seconds } if assignment.attempt == 1 => {
            let mut outcome = boom();
            if let Outcome::Failure(failure) = &mut outcome {
                failure.retry_delay = Duration::from_secs_f64(seconds).try_into().ok();
            }
            outcome
        }
        Order::RetryAfter { .. } => success(json!({ "attempt": assignment.attempt })),
        Order::Checkpoint if assignment.attempt == 1 => {
            update(LeaseUpdate { checkpoint: Some(json_payload(r#"{"i": 7}"#)), ..Default::default() });
            boom()
        }
        Order::Checkpoint => {
            let result = assignment.checkpoint.unwrap_or_else(|| json_payload("null"));
            Outcome::Success(Success { result: Some(result), follow_ups: vec![] })
        }
        Order::FollowUp { r#type, value } => {
            let payload = Some(json_payload(value.to_string()));
            let spec = JobSpec { queue: assignment.queue, r#type, payload, ..Default::default() };
            let follow_ups = vec![SubmitJobRequest { spec: Some(spec), ..Default::default() }];
            Outcome::Success(Success { result: None, follow_ups })
        }
        Order::Big { bytes } => success("x".repeat(bytes).into()),
    }
}

fn success(result: Value) -> Outcome {
    Outcome::Success(Success { result: Some(json_payload(result.to_string())), follow_ups: vec![] })
}

pub fn failure(r#type: &str, message: impl Into<String>, retryable: bool) -> Outcome {
    let error = JobError { r#type: r#type.into(), message: message.into(), retryable, ..Default::default() };
    Outcome::Failure(Failure { error: Some(error), retry_delay: None })
}

pub fn release(reason: &str) -> Outcome {
    Outcome::Release(Release { reason: reason.into(), delay: None })
}

fn boom() -> Outcome {
    failure("Boom", "failed, as asked", true)
}
