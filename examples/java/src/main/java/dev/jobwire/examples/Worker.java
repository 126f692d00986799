package dev.jobwire.examples;

import static dev.jobwire.examples.Contract.env;

import io.grpc.ManagedChannel;
import io.grpc.Status;
import java.util.EnumSet;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import jobwire.v1.WorkerServiceGrpc;
import jobwire.v1.WorkerServiceOuterClass.QueueSubscription;
import jobwire.v1.WorkerServiceOuterClass.WorkRequest;
import jobwire.v1.WorkerServiceOuterClass.WorkerHello;

/** Runs jobs of the type "conformance" over the Work stream; see README.md. */
final class Worker {
    private static final long SHORTEST_BACKOFF_MS = 200;
    private static final long LONGEST_BACKOFF_MS = 3000;
    /** What handlers have after SIGTERM to end by themselves; then their jobs are given back. */
    private static final long FINISH_MS = 2000;
    /** What the server has not acked by then runs out with its lease. */
    private static final long LEAVE_MS = 9000;

    private static final Set<Status.Code> REFUSALS = EnumSet.of(
            Status.Code.INVALID_ARGUMENT, Status.Code.UNIMPLEMENTED,
            Status.Code.UNAUTHENTICATED, Status.Code.PERMISSION_DENIED);

    final Leases leases = new Leases(this);
    private final ManagedChannel channel;
    private final WorkerHello hello;
    private final ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
    private final CountDownLatch left = new CountDownLatch(1);
    private WorkStream newest;
    /** The one that the worker speaks on: the newest that was welcomed. */
    private WorkStream current;
    private int liveStreams;
    private long backoffMs = SHORTEST_BACKOFF_MS;
    private boolean isLeaving;
    private Status refusal;

    Worker(ManagedChannel channel, WorkerHello hello) {
        this.channel = channel;
        this.hello = hello;
    }

    synchronized void open() {
        channel.resetConnectBackoff(); // the channel's own grows to two minutes
        newest = new WorkStream(this);
        liveStreams++;
        WorkerServiceGrpc.newStub(channel).work(newest);
        newest.hello(hello.toBuilder()
                .addAllHeldLeaseTokens(leases.tokens()).setMaxInFlight(isLeaving ? 0 : hello.getMaxInFlight()).build());
    }

    /** Opens the next stream, unless this one has a successor already. */
    synchronized void reopen(WorkStream after) {
        if (newest == after) {
            open();
        }
    }

    /** The new stream has been told nothing yet. */
    void welcomed(WorkStream stream) {
        backoffMs = SHORTEST_BACKOFF_MS;
        if (current != null) {
            current.halfClose();
        }
        current = stream;
        if (isLeaving) {
            say(WorkRequest.newBuilder().setMaxInFlight(0));
        }
        leases.tellAll();
        goIfDone();
    }

    void ended(WorkStream stream, Status end) {
        liveStreams--;
        if (current == stream) {
            current = null;
        }
        if (REFUSALS.contains(end.getCode())) {
            refusal = end;
            left.countDown();
            return;
        }
        if (!end.isOk()) {
            log("no stream, trying again: " + end.getDescription());
        }
        later(ThreadLocalRandom.current().nextLong(backoffMs), () -> reopen(stream));
        backoffMs = Math.min(2 * backoffMs, LONGEST_BACKOFF_MS);
        goIfDone();
    }

    void say(WorkRequest.Builder frame) {
        if (current != null) {
            current.say(frame);
        }
    }

    void heartbeat(WorkStream stream) {
        if (stream == current) {
            leases.heartbeat();
        }
    }

    boolean isLeaving() {
        return isLeaving;
    }

    /** Takes nothing new, finishes or gives back what is held, says goodbye. Returns false when that took too long. */
    boolean leave() throws InterruptedException {
        synchronized (this) {
            log("leaving: %d jobs to finish".formatted(leases.size()));
            isLeaving = true;
            say(WorkRequest.newBuilder().setMaxInFlight(0));
            later(FINISH_MS, leases::giveBack);
            goIfDone();
        }
        return left.await(LEAVE_MS, TimeUnit.MILLISECONDS);
    }

    /** Half-closes when nothing is held any more; the server then ends the stream. */
    void goIfDone() {
        if (!isLeaving || leases.size() > 0) {
            return;
        }
        if (current != null) {
            current.halfClose();
            current = null;
        }
        if (liveStreams == 0) {
            left.countDown();
        }
    }

    /** Does it later, under the lock. */
    ScheduledFuture<?> later(long delayMs, Runnable action) {
        return timer.schedule(() -> locked(action), delayMs, TimeUnit.MILLISECONDS);
    }

    ScheduledFuture<?> every(long intervalMs, Runnable action) {
        return timer.scheduleAtFixedRate(() -> locked(action), intervalMs, intervalMs, TimeUnit.MILLISECONDS);
    }

    private synchronized void locked(Runnable action) {
        action.run();
    }

    static void log(String text) {
        System.err.println("worker: " + text);
    }

    public static void main(String[] args) throws InterruptedException {
        WorkerHello hello = WorkerHello.newBuilder()
                .setWorkerId(env("JOBWIRE_WORKER_ID", "java-" + ProcessHandle.current().pid()))
                .setInstanceId(UUID.randomUUID().toString())
                .addQueues(QueueSubscription.newBuilder().setQueue(env("JOBWIRE_QUEUE", "default")))
                .addTypes("conformance")
                .setMaxInFlight(Integer.parseInt(env("JOBWIRE_SLOTS", "8")))
                .setUserAgent("jobwire-example-java/1")
                .build();
        Worker worker = new Worker(Contract.channel(), hello);
        // The hook ends the process itself: left to the JVM, SIGTERM means exit code 143.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            boolean hasLeft = false;
            try {
                hasLeft = worker.leave();
            } catch (InterruptedException e) {
                // counts as not left
            }
            if (!hasLeft) {
                log("left without a goodbye: the server cannot be reached");
            }
            Runtime.getRuntime().halt(hasLeft ? 0 : 1);
        }));
        worker.open();
        worker.left.await();
        if (worker.refusal != null) {
            log("the server refuses this worker: " + worker.refusal.getDescription());
            Runtime.getRuntime().halt(1);
        }
    }
}
