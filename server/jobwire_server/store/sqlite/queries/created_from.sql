-- When the first job at or after a key was created. Index: rowid.
SELECT create_us FROM job WHERE key >= :key ORDER BY key LIMIT 1
