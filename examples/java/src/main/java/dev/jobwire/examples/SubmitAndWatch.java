package dev.jobwire.examples;

import static dev.jobwire.examples.Contract.env;

import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.time.Instant;
import java.util.Iterator;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import jobwire.v1.JobOuterClass.JobSpec;
import jobwire.v1.JobOuterClass.JobStatus;
import jobwire.v1.JobOuterClass.JobView;
import jobwire.v1.JobServiceGrpc;
import jobwire.v1.JobServiceGrpc.JobServiceBlockingStub;
import jobwire.v1.JobServiceOuterClass.SubmitJobRequest;
import jobwire.v1.JobServiceOuterClass.WatchJobRequest;
import jobwire.v1.JobServiceOuterClass.WatchJobResponse;

/** Submits one job and watches it to its end: SubmitAndWatch TYPE JSON. See README.md. */
final class SubmitAndWatch {
    /** How long the server may be away. */
    private static final Duration PATIENCE = Duration.ofMinutes(1);

    private final ManagedChannel channel;
    private final JobServiceBlockingStub jobs;

    private SubmitAndWatch(ManagedChannel channel) {
        this.channel = channel;
        this.jobs = JobServiceGrpc.newBlockingStub(channel);
    }

    public static void main(String[] args) throws InterruptedException {
        if (args.length != 2) {
            System.err.println("usage: SubmitAndWatch TYPE JSON");
            System.exit(2);
        }
        ManagedChannel channel = Contract.channel();
        try {
            SubmitAndWatch program = new SubmitAndWatch(channel);
            System.exit(report(program.watch(program.submit(args[0], args[1]))));
        } catch (StatusRuntimeException e) {
            System.err.println("error: " + e.getStatus());
            System.exit(1);
        }
    }

    private static int report(JobStatus job) {
        switch (job.getState()) {
            case JOB_STATE_COMPLETED:
                System.out.println(Contract.text(job.getResult()));
                return 0;
            case JOB_STATE_FAILED:
                System.err.printf("failed after %d attempts: %s: %s%n",
                        job.getAttempt(), job.getLastError().getType(), job.getLastError().getMessage());
                return 3;
            default: // cancelled or expired
                return 4;
        }
    }

    private String submit(String type, String json) throws InterruptedException {
        SubmitJobRequest request = SubmitJobRequest.newBuilder()
                .setRequestId(UUID.randomUUID().toString()) // repeats of this request never make a second job
                .setSpec(JobSpec.newBuilder()
                        .setQueue(env("JOBWIRE_QUEUE", "")).setType(type).setPayload(Contract.json(json)))
                .build();
        Instant until = Instant.now().plus(PATIENCE);
        while (true) {
            try {
                String id = jobs.withDeadlineAfter(10, TimeUnit.SECONDS).submitJob(request).getJob().getJobId();
                System.err.println("job " + id);
                return id;
            } catch (StatusRuntimeException e) {
                pause(e, until);
            }
        }
    }

    /** Follows the job through cuts of the connection: each new call goes on after the last revision seen. */
    private JobStatus watch(String id) throws InterruptedException {
        WatchJobRequest.Builder request = WatchJobRequest.newBuilder().setJobId(id).setView(JobView.JOB_VIEW_FULL);
        JobStatus last = JobStatus.getDefaultInstance();
        Instant until = Instant.now().plus(PATIENCE);
        while (true) {
            try {
                Iterator<WatchJobResponse> statuses = jobs.watchJob(request.build());
                while (statuses.hasNext()) {
                    last = statuses.next().getStatus();
                    request.setAfterRevision(last.getRevision());
                    until = Instant.now().plus(PATIENCE);
                    System.err.println(line(last));
                }
                return last; // the stream ends with OK after the terminal status
            } catch (StatusRuntimeException e) {
                pause(e, until);
            }
        }
    }

    /** Waits when the call may be made again, else throws the error. */
    private void pause(StatusRuntimeException error, Instant until) throws InterruptedException {
        boolean isPassing = switch (error.getStatus().getCode()) {
            case UNAVAILABLE, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED -> true;
            default -> false;
        };
        if (!isPassing || Instant.now().isAfter(until)) {
            throw error;
        }
        System.err.println("trying again: " + error.getStatus().getDescription());
        Thread.sleep(500);
        channel.resetConnectBackoff(); // the channel's own grows to two minutes
    }

    private static String line(JobStatus status) {
        StringBuilder text = new StringBuilder(status.getState().name().replace("JOB_STATE_", ""));
        if (status.getAttempt() > 0) {
            text.append(" attempt %d/%d".formatted(status.getAttempt(), status.getMaxAttempts()));
        }
        if (status.hasProgressPercent()) {
            text.append(" %.0f%% %s".formatted(status.getProgressPercent(), status.getProgressMessage()));
        }
        return text.toString();
    }
}
