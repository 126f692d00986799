-- Which of these (tenant, id) belong to a job, or did. Indexes: job_id, tombstone_pkey.
SELECT coalesce(json_agg(r.n - 1), '[]')::text
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
WHERE EXISTS (SELECT 1 FROM job WHERE job.tenant = r.value ->> 0 AND job.id = r.value ->> 1)
   OR EXISTS (
     SELECT 1 FROM tombstone AS t
     WHERE t.tenant = r.value ->> 0 AND t.id = r.value ->> 1 AND t.until_us - %(now)s::bigint > 0
   )
