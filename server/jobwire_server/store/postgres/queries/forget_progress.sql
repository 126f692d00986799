-- Removes old word; two servers that do so at once pass each other by. Index: progress_pkey.
DELETE FROM jobwire.progress
WHERE mark IN (
  SELECT mark FROM jobwire.progress WHERE mark <= %(upto)s::bigint ORDER BY mark LIMIT %(limit)s::bigint FOR UPDATE SKIP LOCKED
)
