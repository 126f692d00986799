//! Submits one job and watches it to its end: submit_and_watch TYPE JSON. See README.md.

mod contract;

use std::process::ExitCode;
use std::time::Duration;

use contract::job_service_client::JobServiceClient;
use contract::{JobSpec, JobState, JobStatus, JobView, SubmitJobRequest, WatchJobRequest, env, json_payload};
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status, transport::Channel};

/// How long the server may be away.
const PATIENCE: Duration = Duration::from_secs(60);

type Jobs = JobServiceClient<Channel>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [r#type, json] = &arguments[..] else {
        eprintln!("usage: submit_and_watch TYPE JSON");
        return ExitCode::from(2);
    };
    let request = SubmitJobRequest {
        request_id: uuid::Uuid::new_v4().to_string(), // repeats of this request never make a second job
        spec: Some(JobSpec {
            queue: env("JOBWIRE_QUEUE", ""),
            r#type: r#type.clone(),
            payload: Some(json_payload(json.as_str())),
            ..Default::default()
        }),
        ..Default::default()
    };
    match submit_and_watch(request).await {
        Ok(job) => report(&job),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn report(job: &JobStatus) -> ExitCode {
    match job.state() {
        JobState::Completed => {
            println!("{}", String::from_utf8_lossy(contract::content(job.result.as_ref())));
            ExitCode::SUCCESS
        }
        JobState::Failed => {
            let error = job.last_error.clone().unwrap_or_default();
            eprintln!("failed after {} attempts: {}: {}", job.attempt, error.r#type, error.message);
            ExitCode::from(3)
        }
        _ => ExitCode::from(4), // cancelled or expired
    }
}

async fn submit_and_watch(request: SubmitJobRequest) -> Result<JobStatus, Box<dyn std::error::Error>> {
    let mut jobs = Jobs::new(contract::channel()?);
    let id = submit(&mut jobs, request).await?;
    eprintln!("job {id}");
    Ok(watch(&mut jobs, id).await?)
}

async fn submit(jobs: &mut Jobs, request: SubmitJobRequest) -> Result<String, Status> {
    let until = Instant::now() + PATIENCE;
    loop {
        let call = timeout(Duration::from_secs(10), jobs.submit_job(request.clone())).await;
        match call.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer within 10 s"))) {
            Ok(answer) => return Ok(answer.into_inner().job.unwrap_or_default().job_id),
            Err(status) => pause(status, until).await?,
        }
    }
}

/// Follows the job through cuts of the connection: each new call goes on after the last revision seen.
async fn watch(jobs: &mut Jobs, job_id: String) -> Result<JobStatus, Status> {
    let mut request = WatchJobRequest { job_id, view: JobView::Full.into(), after_revision: None };
    let mut last = None;
    let mut until = Instant::now() + PATIENCE;
    loop {
        let end = async {
            let mut answers = jobs.watch_job(request.clone()).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                let status = answer.status.unwrap_or_default();
                eprintln!("{}", line(&status));
                request.after_revision = Some(status.revision);
                until = Instant::now() + PATIENCE;
                last = Some(status);
            }
            Ok::<_, Status>(())
        };
        match (end.await, last.take()) {
            (Ok(()), Some(terminal)) => return Ok(terminal), // the stream ends with OK after the terminal status
            (Ok(()), None) => return Err(Status::internal("the watch ended without a status")),
            (Err(status), seen) => {
                last = seen;
                pause(status, until).await?;
            }
        }
    }
}

/// Waits when the call may be made again, else gives the error back.
async fn pause(status: Status, until: Instant) -> Result<(), Status> {
    let passing = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted)
        || status.code() == Code::Unknown; // tonic's word for a connection that was cut in the middle of a stream
    if !passing || Instant::now() > until {
        return Err(status);
    }
    eprintln!("trying again: {}", status.message());
    sleep(Duration::from_millis(500)).await;
    Ok(())
}

fn line(status: &JobStatus) -> String {
    let mut text = status.state().as_str_name().replace("JOB_STATE_", "");
    if status.attempt > 0 {
        text += &format!(" attempt {}/{}", status.attempt, status.max_attempts);
    }
    if let Some(percent) = status.progress_percent {
        text += &format!(" {percent:.0}% {}", status.progress_message);
    }
    text
}
