-- Every job as `JobRow`, in the order of the keys. Index: rowid.
SELECT
  key, id, revision, sequence, state, attempt, max_attempts, fence,
  (lease_expire_us IS NOT NULL) + (instance_id IS NOT NULL) + (transport IS NOT NULL),
  (finish_us IS NOT NULL) + (purge_us IS NOT NULL)
FROM job
ORDER BY key
