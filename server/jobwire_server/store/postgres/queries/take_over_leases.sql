-- Makes the leases (key, fence) that stand those of one owner; what is the owner's already stays as it is. No event.
UPDATE job
SET transport = %(transport)s::smallint, instance_id = %(instance_id)s::text, worker_id = %(worker_id)s::text
FROM jsonb_array_elements(%(held)s::jsonb) AS r (value)
WHERE job.key = (r.value ->> 0)::bigint AND job.state IS NOT DISTINCT FROM 3 AND job.fence = (r.value ->> 1)::bigint
  AND (transport, instance_id, worker_id)
    IS DISTINCT FROM (%(transport)s::smallint, %(instance_id)s::text, %(worker_id)s::text)
