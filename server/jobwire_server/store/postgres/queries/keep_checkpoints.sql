-- Keeps checkpoints, replacing those before: 0 key, 1 fence, 2 form, 3 type, 4 encoding, 5 offset, 6 length of each in
-- the one blob. Fenced. Index: job_pkey.
INSERT INTO checkpoint (key, form, type, encoding, data)
SELECT
  job.key, (r.value ->> 2)::smallint, r.value ->> 3, r.value ->> 4,
  substring(%(content)b::bytea FROM (r.value ->> 5)::integer FOR (r.value ->> 6)::integer)
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = (r.value ->> 0)::bigint
WHERE job.state IS NOT DISTINCT FROM 3 AND job.fence = (r.value ->> 1)::bigint
ON CONFLICT (key) DO UPDATE
SET form = excluded.form, type = excluded.type, encoding = excluded.encoding, data = excluded.data
