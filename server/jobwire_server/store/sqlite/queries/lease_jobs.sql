-- Leases the chosen jobs (`:keys`, in order) to one owner. What it sets is Event.LEASE of the lifecycle table; the first
-- lease of a job in this life of the store lifts its fence above the floor.
UPDATE job
SET
  state = :state,
  attempt = attempt + :attempt_step,
  fence = max(fence, (SELECT value FROM meta WHERE name = 'fence_floor')) + :fence_step,
  revision = :base + r.key + 1,
  sequence = sequence + 1,
  change_us = :now,
  start_us = :now,
  lease_expire_us = :now + min(:lease_us, coalesce(timeout_us, :lease_us) + :grace_us),
  transport = :transport,
  instance_id = :instance_id,
  worker_id = :worker_id,
  progress_percent = NULL,
  progress_message = NULL
FROM jsonb_each(:keys) AS r
WHERE job.key = r.value AND state = 2
