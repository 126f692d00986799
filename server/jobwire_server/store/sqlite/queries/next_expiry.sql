-- When the next waiting job expires. Index: job_expire.
SELECT min(expire_us) FROM job INDEXED BY job_expire WHERE expire_us IS NOT NULL AND (state BETWEEN 1 AND 2 OR state = 4 OR state = 9)
