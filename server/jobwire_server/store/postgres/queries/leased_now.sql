-- Which of these jobs `lease_jobs` has just leased: the revision that it gives is nobody else's. Index: job_pkey.
SELECT coalesce(json_agg(job.key ORDER BY r.n), '[]')::text
FROM jsonb_array_elements_text(%(keys)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = r.value::bigint
WHERE job.revision = %(base)s::bigint + r.n
