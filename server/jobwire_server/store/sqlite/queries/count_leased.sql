SELECT count(*) FROM job INDEXED BY job_lease WHERE state = 3 AND transport IN (0, 1, 2) AND lease_expire_us > :now
