-- job: its payload is in neither its row nor the table of large ones
SELECT id
FROM jobwire.job
WHERE payload_form IS NOT NULL AND payload IS NULL AND payload_size > 0
  AND NOT EXISTS (SELECT 1 FROM jobwire.content WHERE content.id = 2 * job.key)
