-- Which of these (key, fence) are the current attempts of PROCESSING jobs. Index: job_pkey.
SELECT coalesce(json_agg(r.n - 1 ORDER BY r.n), '[]')::text
FROM jsonb_array_elements(%(pairs)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = (r.value ->> 0)::bigint
WHERE job.state IS NOT DISTINCT FROM 3 AND job.fence = (r.value ->> 1)::bigint
