-- job: its payload or result has another size than its row says
SELECT id
FROM jobwire.job
WHERE length(payload) <> payload_size OR length(result) <> result_size
