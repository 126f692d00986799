-- The whole log as `EventRow`, job by job. No index: the database sorts it, outside of memory where it is large.
SELECT key, revision, sequence, previous, kind, previous_state, state, attempt, max_attempts, fence, job_id
FROM jobwire.event
ORDER BY key, revision
