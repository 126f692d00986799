"""What knows nothing of jobs: time, loops, log set-up."""
