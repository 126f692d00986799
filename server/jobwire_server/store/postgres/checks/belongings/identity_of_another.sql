-- identity: it is that of no job, so that filters and requests find what is not there
SELECT 'key ' || i.key
FROM jobwire.identity AS i
LEFT JOIN jobwire.job ON job.key = i.key
WHERE (job.tenant, job.id, job.queue, job.type) IS DISTINCT FROM (i.tenant, i.id, i.queue, i.type)
  OR job.batch_id IS DISTINCT FROM i.batch_id
