-- Keeps the attempts of PROCESSING jobs that are about to end otherwise than well: (key, error or NULL).
INSERT INTO attempt (key, fence, number, worker_id, start_us, finish_us, error)
SELECT job.key, fence, attempt, coalesce(worker_id, ''), start_us, :now, r.value ->> 1
FROM jsonb_each(:rows) AS r
CROSS JOIN job ON job.key = r.value ->> 0
WHERE job.state = 3
