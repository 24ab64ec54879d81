"""Random sites, rendered with and without the cache: see test_property."""
