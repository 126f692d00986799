-- attempt: its job is gone
SELECT 'key ' || key || ' fence ' || fence
FROM attempt
WHERE key NOT IN (SELECT key FROM job)
