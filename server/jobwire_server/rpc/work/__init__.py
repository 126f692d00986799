"""WorkerService: the Work stream, its unary twins, and what they share."""
