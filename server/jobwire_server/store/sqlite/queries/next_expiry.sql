-- When the next waiting job expires. Index: job_expire.
SELECT min(expire_us) FROM job INDEXED BY job_expire WHERE expire_us IS NOT NULL AND state IN (1, 2, 4, 9)
