package dev.jobwire.examples;

import static dev.jobwire.examples.Contract.duration;

import com.google.protobuf.ByteString;
import java.util.HashMap;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;
import jobwire.v1.WorkerServiceOuterClass.Assignment;
import jobwire.v1.WorkerServiceOuterClass.LeaseState;
import jobwire.v1.WorkerServiceOuterClass.LeaseUpdate;
import jobwire.v1.WorkerServiceOuterClass.Outcome;
import jobwire.v1.WorkerServiceOuterClass.OutcomeAck;
import jobwire.v1.WorkerServiceOuterClass.OutcomeCode;
import jobwire.v1.WorkerServiceOuterClass.Stopped;
import jobwire.v1.WorkerServiceOuterClass.WorkRequest;

/** The leases held, by token. Guarded by the worker's lock. */
final class Leases {
    private static final int ITEMS_PER_FRAME = 256;

    private final Map<ByteString, Job> jobs = new HashMap<>();
    private final Worker worker;
    /** What the server takes. */
    int maxFrameBytes = Integer.MAX_VALUE;

    Leases(Worker worker) {
        this.worker = worker;
    }

    int size() {
        return jobs.size();
    }

    Set<ByteString> tokens() {
        return jobs.keySet();
    }

    void start(Assignment assignment) {
        Job job = new Job(assignment);
        jobs.put(job.token(), job);
        expectEnd(job, assignment.getLeaseRemaining());
        job.thread = new Thread(() -> run(job), "job-" + assignment.getJobId());
        job.thread.setDaemon(true);
        job.thread.start();
        if (worker.isLeaving()) {
            job.stop(Handlers.release("the worker is leaving")); // it crossed our goodbye
        }
    }

    /** On a thread of its own, outside the lock. */
    private void run(Job job) {
        Outcome.Builder outcome;
        try {
            outcome = Handlers.run(job.assignment, news -> update(job, news));
        } catch (InterruptedException e) {
            outcome = null;
        } catch (RuntimeException | Error e) {
            outcome = Handlers.failure(e.getClass().getSimpleName(), e.getMessage(), true);
        }
        synchronized (worker) {
            if (outcome == null) {
                outcome = job.ending;
            }
            if (jobs.get(job.token()) == job) {
                finish(job, outcome);
            }
        }
    }

    /** A checkpoint is kept beside newer progress: on a new stream both are said again. */
    private void update(Job job, LeaseUpdate.Builder news) {
        synchronized (worker) {
            LeaseUpdate.Builder merged = job.update == null ? LeaseUpdate.newBuilder() : job.update.toBuilder();
            job.update = merged.mergeFrom(news.setLeaseToken(job.token()).build()).build();
            if (jobs.get(job.token()) == job) {
                tell(job);
            }
        }
    }

    private void finish(Job job, Outcome.Builder outcome) {
        job.outcome = outcome.setLeaseToken(job.token()).build();
        int bytes = WorkRequest.newBuilder().addOutcomes(job.outcome).build().getSerializedSize();
        if (bytes > maxFrameBytes) { // the server would end the stream, each time
            String message = "%d bytes; a frame has at most %d".formatted(bytes, maxFrameBytes);
            job.outcome = Handlers.failure("OutcomeRefused", message, false).setLeaseToken(job.token()).build();
        }
        tell(job);
    }

    /** Tells a new stream everything that is not acked. */
    void tellAll() {
        jobs.values().forEach(this::tell);
    }

    /** Says what the server has to hear of a job, a job a frame: no frame is then out of its bounds. */
    private void tell(Job job) {
        WorkRequest.Builder frame = WorkRequest.newBuilder();
        if (job.outcome != null) {
            frame.addOutcomes(job.outcome);
        }
        if (job.update != null && (job.outcome == null || !job.outcome.hasSuccess())) {
            // The next attempt needs the checkpoint. In a frame of its own it could be overtaken by the outcome.
            frame.addLeaseUpdates(job.update);
        }
        if (job.outcome != null || job.update != null) {
            worker.say(frame);
        }
    }

    /** Names every lease held; with none it only says that the worker is there. */
    void heartbeat() {
        WorkRequest.Builder frame = WorkRequest.newBuilder();
        for (ByteString token : jobs.keySet()) {
            if (frame.getLeaseUpdatesCount() == ITEMS_PER_FRAME) {
                worker.say(frame);
                frame = WorkRequest.newBuilder();
            }
            frame.addLeaseUpdates(LeaseUpdate.newBuilder().setLeaseToken(token));
        }
        worker.say(frame);
    }

    void acked(OutcomeAck ack) {
        Job job = jobs.get(ack.getLeaseToken());
        if (job == null || job.outcome == null) {
            return; // overtaken by the loss of the lease, or a repetition
        }
        if (ack.getCode() == OutcomeCode.OUTCOME_CODE_RETRY) {
            worker.later(1000, () -> finish(job, job.outcome.toBuilder()));
        } else if (ack.getCode() == OutcomeCode.OUTCOME_CODE_INVALID && !job.outcome.hasFailure()) {
            Worker.log("job %s: the outcome is refused: %s".formatted(job.assignment.getJobId(), ack.getMessage()));
            finish(job, Handlers.failure("OutcomeRefused", ack.getMessage(), false));
        } else {
            drop(job); // recorded, or too late for good
        }
    }

    void renewed(LeaseState lease) {
        Job job = jobs.get(lease.getLeaseToken());
        if (job == null) {
            return;
        }
        if (!lease.getValid()) {
            Worker.log("job %s: the lease is lost".formatted(job.assignment.getJobId()));
            drop(job);
            return;
        }
        expectEnd(job, lease.getRemaining());
        if (lease.getCancelRequested()) {
            cancel(job.token(), "cancel requested");
        }
    }

    void cancel(ByteString token, String reason) {
        Job job = jobs.get(token);
        if (job != null) {
            job.stop(Outcome.newBuilder().setStopped(Stopped.newBuilder().setReason(reason)));
        }
    }

    void giveBack() {
        jobs.values().forEach(job -> job.stop(Handlers.release("the worker is leaving")));
    }

    /** Drops the job when its lease ends by our own clock. An outcome is kept: the server may have it. */
    private void expectEnd(Job job, com.google.protobuf.Duration remaining) {
        if (job.leaseEnd != null) {
            job.leaseEnd.cancel(false);
        }
        job.leaseEnd = worker.later(duration(remaining).toMillis(), () -> {
            if (job.outcome == null) {
                drop(job);
            }
        });
    }

    private void drop(Job job) {
        jobs.remove(job.token());
        job.leaseEnd.cancel(false);
        job.stop(null);
        worker.goIfDone();
    }
}
