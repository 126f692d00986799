-- job: its result is in neither its row nor the table of large ones
SELECT id
FROM jobwire.job
WHERE result_form IS NOT NULL AND result IS NULL AND result_size > 0
  AND NOT EXISTS (SELECT 1 FROM jobwire.content WHERE content.id = 2 * job.key + 1)
