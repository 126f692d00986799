-- The key of a job. Indexes: identity_id, job_pkey.
SELECT job.key, job.id_chosen
FROM identity AS i
JOIN job ON job.key = i.key
WHERE i.tenant = %(tenant)s::text AND i.id = %(id)s::text
