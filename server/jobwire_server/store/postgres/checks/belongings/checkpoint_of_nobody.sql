-- checkpoint: its job is gone, or does not know of it
SELECT 'key ' || checkpoint.key
FROM jobwire.checkpoint
LEFT JOIN jobwire.job ON job.key = checkpoint.key
WHERE job.key IS NULL OR job.checkpointed = 0
