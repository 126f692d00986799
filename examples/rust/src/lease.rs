//! The leases held: from their assignment until the outcome is acked or the lease is lost.

use std::time::Duration;

use prost::Message;
use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;
use tokio_util::time::delay_queue;

use crate::contract::{
    Assignment, LeaseState, LeaseUpdate, Outcome, OutcomeAck, OutcomeCode, Stopped, WorkRequest, duration,
    outcome::Outcome as Ending,
};
use crate::{Event, Worker, handlers};

pub type Token = Vec<u8>;

const ITEMS_PER_FRAME: usize = 256;

pub enum Stop {
    Cancelled(String),
    Leaving,
}

pub struct Job {
    id: String,
    /// Its end by our own clock; None when it has come.
    lease: Option<delay_queue::Key>,
    /// Dropping it stops the handler without a report.
    stop: Option<oneshot::Sender<Stop>>,
    /// The newest progress and checkpoint, to be said on every new stream.
    update: Option<LeaseUpdate>,
    /// Kept until it is acked.
    outcome: Option<Outcome>,
}

impl Job {
    pub fn stop(&mut self, why: Stop) {
        if let Some(stop) = self.stop.take() {
            stop.send(why).ok();
        }
    }
}

impl Worker {
    pub fn say(&self, frame: WorkRequest) {
        if let Some(stream) = &self.stream {
            stream.say(frame);
        }
    }

    /// Says what the server has to hear of a job, a job a frame: no frame is then out of its bounds.
    pub fn tell(&self, token: &Token) {
        let Some(job) = self.jobs.get(token) else { return };
        let outcomes: Vec<_> = job.outcome.iter().cloned().collect();
        // The next attempt needs the checkpoint. In a frame of its own it could be overtaken by the outcome.
        let is_success = matches!(&outcomes[..], [Outcome { outcome: Some(Ending::Success(_)), .. }]);
        let lease_updates: Vec<_> = job.update.iter().filter(|_| !is_success).cloned().collect();
        if !(outcomes.is_empty() && lease_updates.is_empty()) {
            self.say(WorkRequest { outcomes, lease_updates, ..Default::default() });
        }
    }

    /// Names every lease held; with none it only says that the worker is there.
    pub fn heartbeat(&self) {
        let update = |token: &Token| LeaseUpdate { lease_token: token.clone(), ..Default::default() };
        let mut updates: Vec<_> = self.jobs.keys().map(update).collect();
        loop {
            let rest = updates.split_off(updates.len().min(ITEMS_PER_FRAME));
            self.say(WorkRequest { lease_updates: updates, ..Default::default() });
            updates = rest;
            if updates.is_empty() {
                break;
            }
        }
    }

    pub fn start(&mut self, assignment: Assignment) {
        let token = assignment.lease_token.clone();
        let (stop, stopped) = oneshot::channel();
        let mut job = Job {
            id: assignment.job_id.clone(),
            lease: Some(self.leases.insert(token.clone(), duration(assignment.lease_remaining))),
            stop: Some(stop),
            update: None,
            outcome: None,
        };
        if self.is_leaving {
            job.stop(Stop::Leaving); // it crossed our goodbye
        }
        self.jobs.insert(token.clone(), job);
        let events = self.events.clone();
        tokio::spawn(async move {
            let (sender, named) = (events.clone(), token.clone());
            let update = move |news| drop(sender.send(Event::News { token: named.clone(), news }));
            let handler = AbortOnDropHandle::new(tokio::spawn(handlers::run(assignment, update)));
            let outcome = tokio::select! {
                biased;
                why = stopped => match why {
                    Ok(Stop::Cancelled(reason)) => Ending::Stopped(Stopped { reason, result: None }),
                    Ok(Stop::Leaving) => handlers::release("the worker is leaving"),
                    Err(_) => return, // the lease is lost
                },
                outcome = handler => outcome.unwrap_or_else(|panic| handlers::failure("Panic", panic.to_string(), true)),
            };
            events.send(Event::Finished { token, outcome }).ok();
        });
    }

    /// A checkpoint is kept beside newer progress.
    pub fn news(&mut self, token: Token, news: LeaseUpdate) {
        let Some(job) = self.jobs.get_mut(&token) else { return };
        let checkpoint = news.checkpoint.clone().or_else(|| job.update.take().and_then(|update| update.checkpoint));
        job.update = Some(LeaseUpdate { lease_token: token.clone(), checkpoint, ..news });
        self.tell(&token);
    }

    pub fn finish(&mut self, token: Token, ending: Ending) {
        let Some(job) = self.jobs.get_mut(&token) else { return };
        let frame = |outcome| WorkRequest { outcomes: vec![outcome], ..Default::default() };
        let mut outcome = Outcome { lease_token: token.clone(), outcome: Some(ending) };
        if frame(outcome.clone()).encoded_len() > self.max_frame_bytes {
            // The server would end the stream, each time.
            outcome.outcome = Some(handlers::failure("OutcomeRefused", "too large for a frame", false));
        }
        job.outcome = Some(outcome);
        self.tell(&token);
    }

    pub fn stop(&mut self, token: &Token, why: Stop) {
        if let Some(job) = self.jobs.get_mut(token) {
            job.stop(why);
        }
    }

    pub fn acked(&mut self, ack: OutcomeAck) {
        let Some(job) = self.jobs.get(&ack.lease_token) else { return };
        let is_failure = match &job.outcome {
            None => return, // a repetition of an ack for an earlier outcome
            Some(outcome) => matches!(outcome.outcome, Some(Ending::Failure(_))),
        };
        match ack.code() {
            OutcomeCode::Retry => self.later(Duration::from_secs(1), Event::Repeat { token: ack.lease_token }),
            OutcomeCode::Invalid if !is_failure => {
                eprintln!("worker: job {}: the outcome is refused: {}", job.id, ack.message);
                self.finish(ack.lease_token, handlers::failure("OutcomeRefused", ack.message, false));
            }
            _ => self.drop_job(&ack.lease_token), // recorded, or too late for good
        }
    }

    pub fn renewed(&mut self, lease: LeaseState) {
        let Some(job) = self.jobs.get(&lease.lease_token) else { return };
        if !lease.valid {
            eprintln!("worker: job {}: the lease is lost", job.id);
            return self.drop_job(&lease.lease_token);
        }
        if let Some(key) = &job.lease {
            self.leases.reset(key, duration(lease.remaining));
        }
        if lease.cancel_requested {
            self.stop(&lease.lease_token, Stop::Cancelled("cancel requested".into()));
        }
    }

    /// The lease has ended by our own clock. An outcome is kept: the server may have it.
    pub fn expired(&mut self, token: Token) {
        let Some(job) = self.jobs.get_mut(&token) else { return };
        job.lease = None;
        if job.outcome.is_none() {
            self.jobs.remove(&token);
        }
    }

    fn drop_job(&mut self, token: &Token) {
        if let Some(key) = self.jobs.remove(token).and_then(|job| job.lease) {
            self.leases.remove(&key);
        }
    }
}
