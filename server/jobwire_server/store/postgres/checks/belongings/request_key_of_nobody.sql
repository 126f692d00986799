-- request_key: none of its jobs is there, and it is not marked for that
SELECT request_id
FROM jobwire.request_key AS k
WHERE orphan = 0
  AND NOT EXISTS (SELECT 1 FROM jobwire.job WHERE job.key BETWEEN k.first_key AND k.first_key + k.count - 1)
