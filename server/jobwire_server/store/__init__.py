"""The seam between the service and the database: `base` is the interface, each folder a driver."""
