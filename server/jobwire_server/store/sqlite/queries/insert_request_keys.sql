-- Records idempotency keys, one row per call, also for a batch.
INSERT INTO request_key (tenant, request_id, fingerprint, first_key, count, batch_id, create_us)
SELECT value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, value ->> 4, value ->> 5, :now
FROM jsonb_each(:rows)
