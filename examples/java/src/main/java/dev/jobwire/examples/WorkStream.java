package dev.jobwire.examples;

import static dev.jobwire.examples.Contract.duration;

import io.grpc.Status;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientResponseObserver;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ThreadLocalRandom;
import jobwire.v1.WorkerServiceOuterClass.WorkRequest;
import jobwire.v1.WorkerServiceOuterClass.WorkResponse;
import jobwire.v1.WorkerServiceOuterClass.WorkerHello;
import jobwire.v1.WorkerServiceOuterClass.WorkerWelcome;

/** One Work stream. Everything happens under the worker's lock: an observer of requests is not thread-safe. */
final class WorkStream implements ClientResponseObserver<WorkRequest, WorkResponse> {
    /** The server sends something every 15 s. */
    private static final long SILENCE_MS = 45_000;

    private final Worker worker;
    private ClientCallStreamObserver<WorkRequest> requests;
    private ScheduledFuture<?> watchdog;
    private ScheduledFuture<?> beat;
    private boolean isHalfClosed;

    WorkStream(Worker worker) {
        this.worker = worker;
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<WorkRequest> requests) {
        this.requests = requests;
    }

    void hello(WorkerHello hello) {
        say(WorkRequest.newBuilder().setHello(hello));
        expectFrame();
    }

    /** Never blocks: what the network does not take yet is queued, a few frames for each lease at most. */
    void say(WorkRequest.Builder frame) {
        if (!isHalfClosed) {
            requests.onNext(frame.build());
        }
    }

    /** Says no more, and hears the rest. */
    void halfClose() {
        if (!isHalfClosed) {
            isHalfClosed = true;
            requests.onCompleted();
        }
    }

    private void expectFrame() {
        if (watchdog != null) {
            watchdog.cancel(false);
        }
        watchdog = worker.later(SILENCE_MS, () -> {
            isHalfClosed = true;
            requests.cancel("the server is silent", null);
        });
    }

    @Override
    public void onNext(WorkResponse frame) {
        synchronized (worker) {
            expectFrame();
            if (frame.hasWelcome()) {
                welcome(frame.getWelcome());
            }
            frame.getAssignmentsList().forEach(worker.leases::start);
            frame.getOutcomeAcksList().forEach(worker.leases::acked);
            frame.getLeaseStatesList().forEach(worker.leases::renewed);
            frame.getCancelOrdersList().forEach(order -> worker.leases.cancel(order.getLeaseToken(), order.getReason()));
            if (frame.getPingId() != 0) {
                say(WorkRequest.newBuilder().setPongId(frame.getPingId()));
            }
            if (frame.hasDrain() && !frame.getDrain().getReason().equals("REPLACED")) { // by a newer one of ours
                Worker.log("the server wants a new stream: " + frame.getDrain().getReason());
                long delayMs = duration(frame.getDrain().getReconnectDelay()).toMillis();
                worker.later(delayMs + ThreadLocalRandom.current().nextLong(delayMs + 1), () -> worker.reopen(this));
            }
        }
    }

    private void welcome(WorkerWelcome welcome) {
        Worker.log("stream %s: %d leases held".formatted(welcome.getSessionId(), welcome.getLeasesCount()));
        beat = worker.every(duration(welcome.getHeartbeatInterval()).toMillis() * 2 / 3, () -> worker.heartbeat(this));
        worker.leases.maxFrameBytes = welcome.getMaxFrameBytes();
        welcome.getLeasesList().forEach(worker.leases::renewed);
        worker.welcomed(this);
    }

    @Override
    public void onError(Throwable error) {
        ended(Status.fromThrowable(error));
    }

    @Override
    public void onCompleted() {
        ended(Status.OK);
    }

    private void ended(Status end) {
        synchronized (worker) {
            isHalfClosed = true;
            watchdog.cancel(false);
            if (beat != null) {
                beat.cancel(false);
            }
            worker.ended(this, end);
        }
    }
}
