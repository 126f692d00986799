-- Which of these (tenant, id) belong to a job, or did. Indexes: UNIQUE (tenant, id), primary key of tombstone.
SELECT json_group_array(r.key)
FROM jsonb_each(:rows) AS r
WHERE EXISTS (SELECT 1 FROM job WHERE job.tenant = r.value ->> 0 AND job.id = r.value ->> 1)
   OR EXISTS (
     SELECT 1 FROM tombstone AS t WHERE t.tenant = r.value ->> 0 AND t.id = r.value ->> 1 AND t.until_us > :now
   )
