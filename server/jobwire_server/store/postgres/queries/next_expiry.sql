-- When the next waiting job expires. Index: job_expire, first entry.
SELECT min(expire_us) FROM job WHERE expire_us IS NOT NULL AND state IN (1, 2, 4, 9)
