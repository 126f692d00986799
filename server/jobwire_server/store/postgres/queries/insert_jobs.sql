-- Creates the jobs of a commit group, one array of `rows` each; a trigger writes their events. insert_plain_jobs.sql is the
-- same for a group in which no job has any of the fields from schedule_us on. Their keys follow `base`. Payloads come in
-- one blob, with offset and length in the row.
INSERT INTO job (
  key, revision, sequence, attempt, fence, losses, create_us, change_us, tenant, id, state, max_attempts, queue, type,
  priority, due_us, payload_form, payload_size, payload, payload_type, id_chosen, batch_id, schedule_us, expire_us,
  timeout_us, retention_us, retry, labels, headers, payload_encoding
)
SELECT
  %(base)s::bigint + r.n, %(base)s::bigint + r.n, 1, 0, 0, 0, %(now)s::bigint, %(now)s::bigint, value ->> 0, value ->> 1,
  (value ->> 2)::smallint, (value ->> 3)::integer, value ->> 4, value ->> 5, (value ->> 6)::smallint,
  (value ->> 7)::bigint, (value ->> 8)::smallint, (value ->> 9)::bigint,
  substring(%(content)b::bytea FROM (value ->> 10)::integer FOR (value ->> 9)::integer),
  value ->> 11, (value ->> 12)::smallint, value ->> 13, (value ->> 14)::bigint, (value ->> 15)::bigint,
  (value ->> 16)::bigint, (value ->> 17)::bigint, value ->> 18, value ->> 19, value ->> 20, value ->> 21
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
