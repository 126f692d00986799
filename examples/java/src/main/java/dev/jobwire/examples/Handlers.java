package dev.jobwire.examples;

import static dev.jobwire.examples.Contract.json;
import static dev.jobwire.examples.Contract.seconds;
import static dev.jobwire.examples.Contract.text;

import com.google.gson.JsonElement;
import com.google.gson.JsonNull;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import com.google.gson.JsonPrimitive;
import java.util.function.Consumer;
import jobwire.v1.JobOuterClass.JobError;
import jobwire.v1.JobOuterClass.JobSpec;
import jobwire.v1.JobServiceOuterClass.SubmitJobRequest;
import jobwire.v1.WorkerServiceOuterClass.Assignment;
import jobwire.v1.WorkerServiceOuterClass.Failure;
import jobwire.v1.WorkerServiceOuterClass.LeaseUpdate;
import jobwire.v1.WorkerServiceOuterClass.Outcome;
import jobwire.v1.WorkerServiceOuterClass.Release;
import jobwire.v1.WorkerServiceOuterClass.Success;

/** What jobs of the type "conformance" do. Put your own here. */
final class Handlers {
    private Handlers() {}

    /**
     * Runs one attempt.
     *
     * @param update sends progress and checkpoints
     * @throws InterruptedException when the job has to stop; anything else that is thrown is retried as the policy says
     */
    static Outcome.Builder run(Assignment job, Consumer<LeaseUpdate.Builder> update) throws InterruptedException {
        JsonObject order;
        try {
            order = JsonParser.parseString(text(job.getPayload())).getAsJsonObject();
        } catch (JsonParseException | IllegalStateException e) {
            return failure("BadPayload", e.getMessage(), false);
        }
        String action = order.has("do") ? order.get("do").getAsString() : "";
        return switch (action) {
            case "echo" -> success(valueOf(order));
            case "fail" -> failure("Boom", "failed, as asked", true);
            case "fail_for_good" -> failure("Boom", "failed for good, as asked", false);
            case "sleep" -> sleep(order.getAsJsonPrimitive("seconds"));
            case "progress" -> progress(order.getAsJsonPrimitive("steps"), update);
            case "release" -> job.getFence() == 1
                    ? release("the payload asks for it")
                    : success(object("fence", new JsonPrimitive(job.getFence())));
            case "retry_after" -> job.getAttempt() == 1
                    ? failedUntil(order.get("seconds").getAsDouble())
                    : success(object("attempt", new JsonPrimitive(job.getAttempt())));
            case "checkpoint" -> checkpoint(job, update);
            case "follow_up" -> followUp(job.getQueue(), order.get("type").getAsString(), valueOf(order));
            case "big" -> success(new JsonPrimitive("x".repeat(order.get("bytes").getAsInt())));
            default -> failure("BadPayload", "there is no \"%s\" to do".formatted(action), false);
        };
    }

    private static Outcome.Builder sleep(JsonPrimitive seconds) throws InterruptedException {
        Thread.sleep((long) (seconds.getAsDouble() * 1000));
        return success(object("slept", seconds));
    }

    private static Outcome.Builder progress(JsonPrimitive steps, Consumer<LeaseUpdate.Builder> update)
            throws InterruptedException {
        for (int step = 1; step <= steps.getAsInt(); step++) {
            update.accept(LeaseUpdate.newBuilder()
                    .setProgressPercent(100.0 * step / steps.getAsInt())
                    .setProgressMessage("step %d of %d".formatted(step, steps.getAsInt())));
            Thread.sleep(100);
        }
        return success(object("steps", steps));
    }

    private static Outcome.Builder checkpoint(Assignment job, Consumer<LeaseUpdate.Builder> update) {
        if (job.getAttempt() > 1) {
            Success.Builder success =
                    Success.newBuilder().setResult(job.hasCheckpoint() ? job.getCheckpoint() : json("null"));
            return Outcome.newBuilder().setSuccess(success);
        }
        update.accept(LeaseUpdate.newBuilder().setCheckpoint(json("{\"i\": 7}")));
        return failure("Boom", "the next attempt goes on from the checkpoint", true);
    }

    private static Outcome.Builder followUp(String queue, String type, JsonElement value) {
        JobSpec.Builder spec = JobSpec.newBuilder().setQueue(queue).setType(type).setPayload(json(value.toString()));
        Success.Builder success = Success.newBuilder().addFollowUps(SubmitJobRequest.newBuilder().setSpec(spec));
        return Outcome.newBuilder().setSuccess(success);
    }

    private static Outcome.Builder failedUntil(double seconds) {
        Outcome.Builder outcome = failure("Boom", "later, as asked", true);
        outcome.getFailureBuilder().setRetryDelay(seconds(seconds));
        return outcome;
    }

    static Outcome.Builder failure(String type, String message, boolean isRetryable) {
        JobError.Builder error = JobError.newBuilder()
                .setType(type).setMessage(String.valueOf(message)).setRetryable(isRetryable);
        return Outcome.newBuilder().setFailure(Failure.newBuilder().setError(error));
    }

    static Outcome.Builder release(String reason) {
        return Outcome.newBuilder().setRelease(Release.newBuilder().setReason(reason));
    }

    private static Outcome.Builder success(JsonElement result) {
        return Outcome.newBuilder().setSuccess(Success.newBuilder().setResult(json(result.toString())));
    }

    private static JsonElement valueOf(JsonObject order) {
        return order.has("value") ? order.get("value") : JsonNull.INSTANCE;
    }

    private static JsonObject object(String name, JsonElement value) {
        JsonObject object = new JsonObject();
        object.add(name, value);
        return object;
    }
}
