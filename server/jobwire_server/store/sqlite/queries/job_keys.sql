-- The key of a job. Index: UNIQUE (tenant, id).
SELECT key, id_chosen FROM job WHERE tenant = :tenant AND id = :id
