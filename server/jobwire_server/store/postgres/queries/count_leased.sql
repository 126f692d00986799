-- Leases that are not over yet. Index: job_lease; it holds the PROCESSING jobs only.
SELECT count(*) FROM job WHERE state = 3 AND lease_expire_us > %(now)s::bigint
