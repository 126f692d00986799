-- Records idempotency keys, one row per call, also for a batch.
INSERT INTO request_key (tenant, request_id, fingerprint, first_key, count, batch_id, create_us)
SELECT
  value ->> 0, value ->> 1, decode(value ->> 2, 'hex'), (value ->> 3)::bigint, (value ->> 4)::integer, value ->> 5,
  %(now)s::bigint
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
