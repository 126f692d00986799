-- The DELETED events of jobs about to be removed, in order. Index: job_pkey.
INSERT INTO event
SELECT
  %(base)s::bigint + r.n, job.key, job.sequence + 1, job.revision, 5, tenant, job.id, queue, job.type, batch_id, labels,
  create_us, state, state, attempt, max_attempts, fence, worker_id, last_error, start_us, finish_us, due_us, NULL,
  cancel_us, %(now)s::bigint
FROM jsonb_array_elements_text(%(keys)s::jsonb) WITH ORDINALITY AS r (value, n)
JOIN job ON job.key = r.value::bigint
