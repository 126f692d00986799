-- The DELETED events of jobs about to be removed (`:keys`, in order).
INSERT INTO event
SELECT
  :base + r.key + 1, job.key, job.sequence + 1, job.revision, 5, tenant, job.id, queue, job.type, batch_id, labels, create_us, state, state,
  attempt, max_attempts, fence, worker_id, last_error, start_us, finish_us, due_us, NULL, cancel_us, :now
FROM jsonb_each(:keys) AS r
CROSS JOIN job ON job.key = r.value
