SELECT max(key) FROM job
