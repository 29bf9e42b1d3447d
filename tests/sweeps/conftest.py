from tests.sweeps.sweeping import folder  # noqa: F401
