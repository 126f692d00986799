-- The first type after a given one with a PENDING job in a queue: a seek in job_claim, whatever the backlog.
SELECT type FROM job INDEXED BY job_claim
WHERE state = 2 AND queue = :queue AND type > :type
ORDER BY type LIMIT 1
