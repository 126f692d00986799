-- insert_jobs.sql without the rare fields: to look for eight that are not there costs a part of the statement.
INSERT INTO job (
  key, revision, sequence, attempt, fence, losses, create_us, change_us, tenant, id, state, max_attempts, queue, type,
  priority, due_us, payload_form, payload_size, payload, payload_type, id_chosen, batch_id
)
SELECT
  %(base)s::bigint + r.n, %(base)s::bigint + r.n, 1, 0, 0, 0, %(now)s::bigint, %(now)s::bigint, value ->> 0, value ->> 1,
  (value ->> 2)::smallint, (value ->> 3)::integer, value ->> 4, value ->> 5, (value ->> 6)::smallint,
  (value ->> 7)::bigint, (value ->> 8)::smallint, (value ->> 9)::bigint,
  substring(%(content)b::bytea FROM (value ->> 10)::integer FOR (value ->> 9)::integer),
  value ->> 11, (value ->> 12)::smallint, value ->> 13
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
