-- The attempts of a job that ended badly, oldest first. Index: attempt_pkey.
SELECT number, worker_id, start_us, finish_us, error FROM attempt WHERE key = %(key)s::bigint ORDER BY fence
