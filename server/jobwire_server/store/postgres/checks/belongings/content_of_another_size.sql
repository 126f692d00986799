-- content: its size is not the one that the job's row names
SELECT 'id ' || content.id
FROM jobwire.content
JOIN jobwire.job ON job.key = content.id / 2
WHERE length(content.data) <> CASE content.id % 2 WHEN 0 THEN payload_size ELSE result_size END
