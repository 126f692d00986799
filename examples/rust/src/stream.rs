//! One Work stream: a task forwards what the server says, a queue holds what the worker says.

use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{interval, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;

use crate::contract::{WorkRequest, WorkResponse, WorkerHello, WorkerWelcome, duration, is_refusal};
use crate::lease::Stop;
use crate::{Client, Event, Failed, LONGEST_BACKOFF, SHORTEST_BACKOFF, Worker};

/// The server sends something every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// The sending half. The queue needs no bound of its own: it holds a few frames for each lease at most.
pub struct Stream {
    pub id: u64,
    frames: UnboundedSender<WorkRequest>,
}

impl Stream {
    pub fn open(id: u64, mut client: Client, events: UnboundedSender<Event>) -> Self {
        let (frames, queue) = unbounded_channel();
        tokio::spawn(async move {
            let listen = async {
                let mut answers = client.work(UnboundedReceiverStream::new(queue)).await?.into_inner();
                let silent = |_| Status::unavailable("the server is silent");
                while let Some(frame) = timeout(SILENCE, answers.message()).await.map_err(silent)?? {
                    events.send(Event::Frame { stream: id, frame }).ok();
                }
                Ok(())
            };
            let end = listen.await;
            events.send(Event::Ended { stream: id, end }).ok();
        });
        Self { id, frames }
    }

    pub fn say(&self, frame: WorkRequest) {
        self.frames.send(frame).ok(); // of a stream that has ended we hear elsewhere
    }
}

impl Worker {
    pub fn open(&mut self) {
        self.newest += 1;
        self.live += 1;
        let hello = WorkerHello { held_lease_tokens: self.jobs.keys().cloned().collect(), ..self.hello.clone() };
        let stream = Stream::open(self.newest, self.client.clone(), self.events.clone());
        stream.say(WorkRequest { hello: Some(hello), ..Default::default() });
        self.opening = Some(stream);
    }

    pub fn receive(&mut self, stream: u64, frame: WorkResponse) {
        if let Some(welcome) = frame.welcome {
            self.welcome(welcome);
        }
        frame.assignments.into_iter().for_each(|assignment| self.start(assignment));
        frame.outcome_acks.into_iter().for_each(|ack| self.acked(ack));
        frame.lease_states.into_iter().for_each(|lease| self.renewed(lease));
        for order in frame.cancel_orders {
            self.stop(&order.lease_token, Stop::Cancelled(order.reason));
        }
        if frame.ping_id != 0 {
            self.say(WorkRequest { pong_id: frame.ping_id, ..Default::default() });
        }
        // REPLACED: the newer stream is ours.
        if let Some(drain) = frame.drain.filter(|drain| drain.reason != "REPLACED") {
            eprintln!("worker: the server wants a new stream: {}", drain.reason);
            let delay = duration(drain.reconnect_delay).mul_f64(1.0 + fastrand::f64());
            self.later(delay, Event::Reopen { after: stream });
        }
    }

    /// The new stream has been told nothing yet.
    fn welcome(&mut self, welcome: WorkerWelcome) {
        eprintln!("worker: stream {}: {} leases held", welcome.session_id, welcome.leases.len());
        self.backoff = SHORTEST_BACKOFF;
        self.max_frame_bytes = welcome.max_frame_bytes as usize;
        self.beat = interval(duration(welcome.heartbeat_interval).mul_f64(2.0 / 3.0));
        welcome.leases.into_iter().for_each(|lease| self.renewed(lease));
        self.stream = self.opening.take();
        if self.is_leaving {
            self.say(WorkRequest { max_in_flight: Some(0), ..Default::default() });
        }
        for token in self.jobs.keys().cloned().collect::<Vec<_>>() {
            self.tell(&token);
        }
    }

    pub fn ended(&mut self, stream: u64, end: Result<(), Status>) -> Result<(), Failed> {
        self.live -= 1;
        self.stream.take_if(|current| current.id == stream);
        if let Err(status) = end {
            if is_refusal(&status) {
                return Err(format!("the server refuses this worker: {}", status.message()).into());
            }
            eprintln!("worker: no stream, trying again: {}", status.message());
        }
        self.later(self.backoff.mul_f64(fastrand::f64()), Event::Reopen { after: stream });
        self.backoff = LONGEST_BACKOFF.min(2 * self.backoff);
        Ok(())
    }
}
