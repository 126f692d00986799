"""jobwire: a durable job service, client side."""
