-- When the first job at or after a key was created. Index: job_pkey.
SELECT create_us FROM job WHERE key >= %(key)s::bigint ORDER BY key LIMIT 1
