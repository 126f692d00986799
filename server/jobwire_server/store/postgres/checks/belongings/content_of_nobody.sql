-- content: it is a payload or result of a job that is gone, or that has it in its row
SELECT 'id ' || content.id
FROM jobwire.content
LEFT JOIN jobwire.job ON job.key = content.id / 2
WHERE job.key IS NULL
  OR CASE content.id % 2 WHEN 0 THEN payload_form ELSE result_form END IS NULL
  OR CASE content.id % 2 WHEN 0 THEN payload ELSE result END IS NOT NULL
