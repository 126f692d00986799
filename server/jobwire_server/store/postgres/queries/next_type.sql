-- The first type at or after a given one with a PENDING job in a queue: a seek in job_claim, whatever the backlog.
SELECT type FROM job
WHERE state = 2 AND queue = %(queue)s::text AND type >= %(type)s::text
ORDER BY type LIMIT 1
