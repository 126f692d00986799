//! Runs jobs of the type "conformance" over the Work stream; see README.md.
//!
//! One task owns all state and hears of everything through one channel of events; nothing is locked.

mod contract;
mod handlers;
mod lease;
mod stream;

use std::collections::HashMap;
use std::time::Duration;

use contract::worker_service_client::WorkerServiceClient;
use contract::{QueueSubscription, WorkRequest, WorkResponse, WorkerHello, env};
use lease::{Job, Stop, Token};
use stream::Stream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Interval, interval};
use tokio_stream::StreamExt;
use tokio_util::time::DelayQueue;
use tonic::{Status, transport::Channel};

const SHORTEST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(3);
/// What handlers have after SIGTERM to end by themselves; then their jobs are given back.
const FINISH_TIME: Duration = Duration::from_secs(2);
/// What the server has not acked by then runs out with its lease.
const LEAVE_TIME: Duration = Duration::from_secs(9);

type Client = WorkerServiceClient<Channel>;
type Failed = Box<dyn std::error::Error>;

enum Event {
    Frame {
        stream: u64,
        frame: WorkResponse,
    },
    Ended {
        stream: u64,
        end: Result<(), Status>,
    },
    /// Open the next stream, if this one is still the newest.
    Reopen {
        after: u64,
    },
    News {
        token: Token,
        news: contract::LeaseUpdate,
    },
    Finished {
        token: Token,
        outcome: contract::outcome::Outcome,
    },
    /// Say the outcome again.
    Repeat {
        token: Token,
    },
    GiveBack,
    GiveUp,
}

struct Worker {
    client: Client,
    hello: WorkerHello,
    events: UnboundedSender<Event>,
    jobs: HashMap<Token, Job>,
    /// Ends of leases by our own clock.
    leases: DelayQueue<Token>,
    /// The stream that the worker speaks on; dropping it half-closes it.
    stream: Option<Stream>,
    /// Said hello, not yet welcomed.
    opening: Option<Stream>,
    newest: u64,
    /// Streams that have not ended, half-closed ones included.
    live: usize,
    /// What the server takes.
    max_frame_bytes: usize,
    backoff: Duration,
    beat: Interval,
    is_leaving: bool,
}

impl Worker {
    fn later(&self, delay: Duration, event: Event) {
        let events = self.events.clone();
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            events.send(event).ok();
        });
    }

    fn handle(&mut self, event: Event) -> Result<(), Failed> {
        match event {
            Event::Frame { stream, frame } => self.receive(stream, frame),
            Event::Ended { stream, end } => self.ended(stream, end)?,
            Event::Reopen { after } if after == self.newest => self.open(),
            Event::Reopen { .. } => {}
            Event::News { token, news } => self.news(token, news),
            Event::Finished { token, outcome } => self.finish(token, outcome),
            Event::Repeat { token } => self.tell(&token),
            Event::GiveBack => self.jobs.values_mut().for_each(|job| job.stop(Stop::Leaving)),
            Event::GiveUp => return Err("left without a goodbye: the server cannot be reached".into()),
        }
        Ok(())
    }

    fn leave(&mut self) {
        eprintln!("worker: leaving: {} jobs to finish", self.jobs.len());
        self.is_leaving = true;
        self.hello.max_in_flight = 0;
        self.say(WorkRequest { max_in_flight: Some(0), ..Default::default() });
        self.later(FINISH_TIME, Event::GiveBack);
        self.later(LEAVE_TIME, Event::GiveUp);
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let (events, mut inbox) = unbounded_channel();
    let hello = WorkerHello {
        worker_id: env("JOBWIRE_WORKER_ID", &format!("rust-{}", std::process::id())),
        instance_id: uuid::Uuid::new_v4().to_string(),
        queues: vec![QueueSubscription { queue: env("JOBWIRE_QUEUE", "default"), ..Default::default() }],
        types: vec!["conformance".into()],
        max_in_flight: env("JOBWIRE_SLOTS", "8").parse().map_err(|_| "JOBWIRE_SLOTS is no number")?,
        user_agent: "jobwire-example-rust/1".into(),
        ..Default::default()
    };
    let mut worker = Worker {
        client: Client::new(contract::channel()?),
        hello,
        events,
        jobs: HashMap::new(),
        leases: DelayQueue::new(),
        stream: None,
        opening: None,
        newest: 0,
        live: 0,
        max_frame_bytes: usize::MAX,
        backoff: SHORTEST_BACKOFF,
        beat: interval(LONGEST_BACKOFF),
        is_leaving: false,
    };
    let mut term = signal(SignalKind::terminate())?;
    worker.open();
    loop {
        tokio::select! {
            Some(event) = inbox.recv() => worker.handle(event)?,
            Some(lease) = worker.leases.next() => worker.expired(lease.into_inner()),
            _ = worker.beat.tick() => worker.heartbeat(),
            _ = term.recv() => if worker.is_leaving { std::process::exit(143) } else { worker.leave() },
        }
        if worker.is_leaving && worker.jobs.is_empty() {
            (worker.stream, worker.opening) = (None, None);
            if worker.live == 0 {
                return Ok(());
            }
        }
    }
}
