-- The attempts of a job that ended badly, oldest first. Index: primary key.
SELECT number, worker_id, start_us, finish_us, error FROM attempt WHERE key = :key ORDER BY fence
