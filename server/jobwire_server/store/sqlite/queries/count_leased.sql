-- Leases that are not over yet. Index: job_lease, covering; it holds the PROCESSING jobs only.
SELECT count(*) FROM job INDEXED BY job_lease WHERE state = 3 AND lease_expire_us > :now
