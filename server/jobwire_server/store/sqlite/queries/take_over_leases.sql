-- Makes the leases (key, fence) that stand those of one owner; what is the owner's already stays as it is. No event.
UPDATE job
SET transport = :transport, instance_id = :instance_id, worker_id = :worker_id
FROM jsonb_each(:held) AS r
WHERE job.key = r.value ->> 0 AND state = 3 AND fence = r.value ->> 1
  AND (transport, instance_id, worker_id) IS NOT (:transport, :instance_id, :worker_id)
