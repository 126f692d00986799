"""The points, by subject. `table` has them all."""
