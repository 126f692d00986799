-- job: it is not found by its id
SELECT id
FROM jobwire.job
WHERE NOT EXISTS (SELECT 1 FROM jobwire.identity AS i WHERE i.tenant = job.tenant AND i.id = job.id)
