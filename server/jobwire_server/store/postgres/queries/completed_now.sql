-- Which of these successes `complete_jobs` has just recorded: the revision that it gives is nobody else's. Index: job_pkey.
SELECT coalesce(json_agg(r.n - 1 ORDER BY r.n), '[]')::text
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = (r.value ->> 0)::bigint
WHERE job.revision = %(base)s::bigint + r.n
