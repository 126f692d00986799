-- Servers that are gone, and hold nothing any more. Index: job_lease for each of the few.
DELETE FROM server AS s
WHERE s.alive_until_us < %(now)s::bigint
  AND NOT EXISTS (SELECT 1 FROM job WHERE job.state = 3 AND job.instance_id = s.instance_id)
