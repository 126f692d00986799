-- The first queue after a given one that holds a PENDING job: a seek in job_claim, whatever the backlog.
SELECT queue FROM job WHERE state = 2 AND queue > %(queue)s::text ORDER BY queue LIMIT 1
