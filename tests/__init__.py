"""A package, for a dependency of crafter installs another `tests`, which would win."""
