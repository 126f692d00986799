-- Ids that callers chose are not used again for a while. Index: job_pkey.
INSERT INTO tombstone (tenant, id, until_us)
SELECT tenant, job.id, %(until)s::bigint
FROM jsonb_array_elements_text(%(keys)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = r.value::bigint
WHERE job.id_chosen = 1
ON CONFLICT (tenant, id) DO UPDATE SET until_us = excluded.until_us
