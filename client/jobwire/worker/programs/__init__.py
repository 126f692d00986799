"""Jobs that are run by any program: payload on stdin, result on stdout, the exit code decides."""
