-- job: its checkpoint is gone
SELECT id
FROM jobwire.job
WHERE checkpointed = 1 AND NOT EXISTS (SELECT 1 FROM jobwire.checkpoint WHERE checkpoint.key = job.key)
