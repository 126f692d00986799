-- The first (queue, type) with a PENDING job after a given one: a seek in job_claim, whatever the backlog.
SELECT queue, type FROM job INDEXED BY job_claim
WHERE state = 2 AND (queue, type) > (:queue, :type)
ORDER BY queue, type LIMIT 1
