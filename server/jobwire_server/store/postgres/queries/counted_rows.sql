-- How many jobs and events there were when the database counted them last; 0 or less = never, or there were none.
SELECT min(reltuples) FROM pg_class WHERE oid IN ('jobwire.job'::regclass, 'jobwire.event'::regclass)
