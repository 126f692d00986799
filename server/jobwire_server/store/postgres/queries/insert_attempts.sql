-- Keeps the attempts of PROCESSING jobs that are about to end otherwise than well: (key, error or null).
INSERT INTO attempt (key, fence, number, worker_id, start_us, finish_us, error)
SELECT job.key, fence, attempt, coalesce(worker_id, ''), start_us, %(now)s::bigint, r.value ->> 1
FROM jsonb_array_elements(%(rows)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = (r.value ->> 0)::bigint
WHERE job.state IS NOT DISTINCT FROM 3
