-- The key of a job. Index: job_id.
SELECT key, id_chosen FROM job WHERE tenant = %(tenant)s::text AND id = %(id)s::text
