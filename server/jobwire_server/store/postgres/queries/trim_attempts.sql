-- Keeps the newest attempts of each job. Index: attempt_pkey.
DELETE FROM attempt
USING jsonb_array_elements_text(%(keys)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = r.value::bigint
WHERE attempt.key = job.key AND attempt.number <= job.attempt - %(keep)s::integer
