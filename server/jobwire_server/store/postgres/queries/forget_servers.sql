-- Servers that are gone and hold nothing any more. Index: job_lease for each of the few.
DELETE FROM jobwire.server AS s
WHERE s.alive_until_us < jobwire.now_us()
  AND NOT EXISTS (SELECT 1 FROM jobwire.job AS j WHERE j.state = 3 AND j.instance_id = s.instance_id)
