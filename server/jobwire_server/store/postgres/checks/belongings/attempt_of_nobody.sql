-- attempt: its job is gone
SELECT 'key ' || key || ' fence ' || fence
FROM jobwire.attempt AS a
WHERE NOT EXISTS (SELECT 1 FROM jobwire.job WHERE job.key = a.key)
