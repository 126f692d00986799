-- Keeps what jobs that were stopped had done so far: 0 key, 1 form, 2 size, 3 offset in the blob or null when it stands
-- apart, 4 type, 5 encoding. No event: it goes with the move of its job. Index: job_pkey.
UPDATE job
SET
  result_form = (r.value ->> 1)::smallint,
  result_size = (r.value ->> 2)::bigint,
  result = substring(%(content)b::bytea FROM (r.value ->> 3)::integer FOR (r.value ->> 2)::integer),
  result_type = r.value ->> 4,
  result_encoding = r.value ->> 5
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
WHERE job.key = (r.value ->> 0)::bigint
