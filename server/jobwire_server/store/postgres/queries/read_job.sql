-- A job without its contents: the columns that `store/rows.py` reads, in its order. Index: job_pkey.
SELECT
  key, tenant, id, state, revision, attempt, max_attempts, fence, queue, type, priority, due_us, create_us, start_us,
  finish_us, cancel_us, lease_expire_us, worker_id, progress_percent, progress_message, last_error, batch_id,
  schedule_us, expire_us, timeout_us, retention_us, retry, labels, headers
FROM job
WHERE key = %(key)s::bigint
