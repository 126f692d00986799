package dev.jobwire.examples;

import com.google.protobuf.ByteString;
import java.util.concurrent.ScheduledFuture;
import jobwire.v1.WorkerServiceOuterClass.Assignment;
import jobwire.v1.WorkerServiceOuterClass.LeaseUpdate;
import jobwire.v1.WorkerServiceOuterClass.Outcome;

/** A lease held: from its assignment until the outcome is acked or the lease is lost. Guarded by the worker's lock. */
final class Job {
    final Assignment assignment;
    /** Runs the handler; an interrupt stops it. */
    Thread thread;
    /** Fires when the lease has ended by our own clock. */
    ScheduledFuture<?> leaseEnd;
    /** What to report if the handler obeys an interrupt; null = nothing, the lease is lost. */
    Outcome.Builder ending;
    /** The newest progress and checkpoint, to be said on every new stream. */
    LeaseUpdate update;
    /** Kept until it is acked; null while the handler runs. */
    Outcome outcome;

    Job(Assignment assignment) {
        this.assignment = assignment;
    }

    ByteString token() {
        return assignment.getLeaseToken();
    }

    void stop(Outcome.Builder ending) {
        this.ending = ending;
        thread.interrupt();
    }
}
