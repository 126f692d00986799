-- job: its checkpoint is gone
SELECT id
FROM job
WHERE checkpointed = 1 AND key NOT IN (SELECT key FROM checkpoint)
