"""Records the graphs that a run makes, and counts how often each is traced."""

from collections import defaultdict

from dreamerv2_transfer.common import tfutils


def record(monkeypatch) -> list:
    """Returns a list of all functions that will be compiled from now on."""
    made, compiled = [], tfutils.compiled

    def recording(*args, **options):
        made.append(compiled(*args, **options))
        return made[-1]

    monkeypatch.setattr(tfutils, "compiled", recording)
    return made


def traces(made: list) -> dict[str, list[int]]:
    """How often each function was traced, by its name."""
    counts = defaultdict(list)
    for graph in made:
        name = graph.python_function.__name__
        counts[name].append(graph.experimental_get_tracing_count())
    return dict(counts)
