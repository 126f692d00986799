package dev.jobwire.examples;

import com.google.protobuf.ByteString;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.time.Duration;
import jobwire.v1.JobOuterClass.Payload;

/** What both programs need beside the generated code. */
final class Contract {
    private Contract() {}

    static String env(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    /** Returns a channel to JOBWIRE_ADDRESS. It connects when it is used, and again after each cut. */
    static ManagedChannel channel() {
        return Grpc.newChannelBuilder(env("JOBWIRE_ADDRESS", "127.0.0.1:7780"), InsecureChannelCredentials.create())
                .build();
    }

    static Payload json(String json) {
        return Payload.newBuilder().setContentType("application/json").setData(ByteString.copyFromUtf8(json)).build();
    }

    /** Returns the content of a payload, whichever arm holds it. */
    static String text(Payload payload) {
        return payload.hasText() ? payload.getText() : payload.getData().toStringUtf8();
    }

    static Duration duration(com.google.protobuf.Duration field) {
        return Duration.ofSeconds(field.getSeconds(), field.getNanos());
    }

    static com.google.protobuf.Duration seconds(double seconds) {
        Duration duration = Duration.ofNanos((long) (seconds * 1e9));
        return com.google.protobuf.Duration.newBuilder()
                .setSeconds(duration.getSeconds()).setNanos(duration.getNano()).build();
    }
}
