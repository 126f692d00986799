-- Up to where others have left word. Index: progress_pkey, last entry.
SELECT coalesce(max(mark), 0) FROM jobwire.progress
