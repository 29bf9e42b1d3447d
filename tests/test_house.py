"""The structure of the package: which folder may import which, and how long things are.

    6  __main__            (and the scripts of launch/)
    5  api, commands
    4  train, play
    3  pretrain, finetune, offline, collect, analysis
    2  learner, validation, evaluate, data, porting, trained
    1  agent, world_model, gae, expl, transfer, dqn, plotting
    0  common              (inside: ops < nets; files < replay, logger)

Each line imports only lower ones; those of line 1 may import each other. `common`
imports nothing of the package outside itself. `reproduction` and `sweeps` run commands,
and so need plotting and common alone, and `sweeps` starts them as `reproduction` does;
`doctor` needs common alone. Only `commands` imports these. Imports inside functions and
for types count too.
"""

from __future__ import annotations

import ast
import collections
import pathlib
import re
import textwrap
from collections.abc import Iterator, Mapping

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = "dreamerv2_transfer"
MOST_LINES = 500  # Of a module.
MOST_SCRIPT_LINES = 100  # Of a launch script.
MOST_BODY_LINES = 50  # Of a function, from its first statement or docstring on.
SINGLE_USE_SHARE = 0.12  # Of all functions: private and called once in their module.

LAYERS = {
    name: layer
    for layer, names in enumerate(
        (
            "common",
            "agent world_model gae expl transfer dqn plotting",
            "learner validation evaluate data porting trained",
            "pretrain finetune offline collect analysis",
            "train play",
            "api commands",
            "__main__",
        )
    )
    for name in names.split()
}
# Rooms beside the layers, and all that they may import.
BESIDE = {
    "reproduction": {"common", "plotting"},
    "sweeps": {"common", "plotting", "reproduction"},
    "doctor": {"common"},
}
# Inside of common, what a folder must not import.
BELOW = {
    "ops": {"nets", "replay", "logger", "envs"},
    "files": {"replay", "logger", "envs", "nets", "ops"},
    "replay": {"logger", "nets", "ops"},
    "envs": {"replay", "logger", "nets", "ops"},
}

Sources = Mapping[str, ast.Module]


def read(root: pathlib.Path = ROOT) -> dict[str, ast.Module]:
    """The syntax tree of every module of the package by its dotted name."""
    paths = sorted((root / PACKAGE).rglob("*.py"))
    return {_dotted(p.relative_to(root)): ast.parse(p.read_text()) for p in paths}


def _dotted(path: pathlib.Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports(sources: Sources) -> dict[str, set[str]]:
    """The modules of the package that each module imports, wherever it does."""
    return {
        name: {x for x in _imported(tree, sources) if x != name}
        for name, tree in sources.items()
    }


def _imported(tree: ast.Module, sources: Sources) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in sources)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import: {ast.unparse(node)}"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if full in sources:
                    yield full
                elif node.module in sources:
                    yield node.module


def wrong_ways(graph: Mapping[str, set[str]]) -> list[str]:
    """The imports that the rule in this module's docstring forbids."""
    return sorted(
        f"{name} imports {target}"
        for name, targets in graph.items()
        for target in targets
        if not _may(name.split(".")[1:], target.split(".")[1:])
    )


def _may(name: list[str], target: list[str]) -> bool:
    if not name or not target:  # The package itself has its version alone.
        return True
    room, other = name[0], target[0]
    if room == other == "common":
        below = BELOW.get(name[1] if len(name) > 2 else "", ())
        return len(target) < 2 or target[1] not in below
    if room == other:
        return True
    if room in BESIDE:
        return other in BESIDE[room]
    if other in BESIDE:
        return room == "commands"
    same = LAYERS[room] == LAYERS[other] == 1
    return same or LAYERS[other] < LAYERS[room]


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, if any do; the first one twice."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        found = (visit(target, [*path, name]) for target in sorted(graph[name]))
        result = next(filter(None, found), [])
        done.add(name)
        return result

    return next(filter(None, (visit(name, []) for name in sorted(graph))), [])


def without_packages(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The graph without each `__init__`, which only hands on names."""
    packages = {x for x in graph if any(y.startswith(f"{x}.") for y in graph)}
    return {k: v - packages for k, v in graph.items() if k not in packages}


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def single_use(tree: ast.Module) -> list[str]:
    """The private functions that are used exactly once in their own module."""
    nodes = list(ast.walk(tree))
    uses = collections.Counter(x.id for x in nodes if isinstance(x, ast.Name))
    uses.update(x.attr for x in nodes if isinstance(x, ast.Attribute))
    names = [function.name for function in functions(tree)]
    private = [x for x in names if x.startswith("_") and not x.startswith("__")]
    return [name for name in private if uses[name] == 1]


def example(**modules: str) -> dict[str, ast.Module]:
    """A package of few modules; `_` in a name stands for a dot."""
    names = {k.replace("__", "."): v for k, v in modules.items()}
    texts = {f"{PACKAGE}.{k}": textwrap.dedent(v) for k, v in names.items()}
    return {k: ast.parse(v) for k, v in texts.items()}


def test_each_room_imports_only_what_stands_below_it():
    assert wrong_ways(imports(read())) == []


def test_no_modules_import_each_other_in_a_circle():
    assert circle(without_packages(imports(read()))) == []


def test_every_module_stands_in_a_room_that_the_rule_knows():
    rooms = {name.split(".")[1] for name in read() if "." in name}
    assert rooms - LAYERS.keys() - BESIDE.keys() == set()


@pytest.mark.parametrize(
    "line",
    [
        "from dreamerv2_transfer.agent import Agent",
        "from dreamerv2_transfer import agent",
        "import dreamerv2_transfer.agent",
        "def late():\n    from dreamerv2_transfer.agent import Agent",
        "if TYPE_CHECKING:\n    from dreamerv2_transfer.agent import Agent",
    ],
)
def test_an_import_the_wrong_way_is_found(line):
    sources = example(agent="", common__nets=line)
    wrong = ["dreamerv2_transfer.common.nets imports dreamerv2_transfer.agent"]
    assert wrong_ways(imports(sources)) == wrong


def test_an_operation_must_not_import_a_network():
    line = "from dreamerv2_transfer.common.nets import rssm"
    sources = example(common__ops__matmul=line, common__nets__rssm="")
    assert len(wrong_ways(imports(sources))) == 1


def test_layers_of_the_same_height_are_apart():
    line = "from dreamerv2_transfer import collect"
    assert wrong_ways(imports(example(pretrain=line, collect=""))) != []
    line = "from dreamerv2_transfer import expl"
    assert wrong_ways(imports(example(agent=line, expl=""))) == []


def test_a_circle_is_found():
    sources = example(
        agent="from dreamerv2_transfer import expl",
        expl="def late():\n    from dreamerv2_transfer.transfer import freeze",
        transfer__freeze="from dreamerv2_transfer.agent import Agent",
    )
    names = ["agent", "expl", "transfer.freeze", "agent"]
    assert circle(imports(sources)) == [f"{PACKAGE}.{name}" for name in names]


def test_no_module_is_too_long_to_be_read():
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in (ROOT / PACKAGE).rglob("*.py")
    }
    assert {k: v for k, v in lines.items() if v > MOST_LINES} == {}


def test_one_function_alone_expands_a_tilde():
    # `pathlib` takes `./~ada` for the home of ada, and raises if there is no such user.
    files = [*(ROOT / PACKAGE).rglob("*.py"), *(ROOT / "launch").glob("*.py")]
    found = [
        x.name for x in files if re.search(r"\.(expanduser|home)\(", x.read_text())
    ]
    assert found == ["paths.py"]


def test_launch_scripts_only_parse_wire_and_call():
    lines = {
        path.name: len(path.read_text().splitlines())
        for path in (ROOT / "launch").glob("*.py")
    }
    assert {k: v for k, v in lines.items() if v > MOST_SCRIPT_LINES} == {}


def test_no_function_is_longer_than_a_screen():
    bodies = {
        f"{name}.{function.name}": function.end_lineno - function.body[0].lineno + 1
        for name, tree in read().items()
        for function in functions(tree)
    }
    assert {k: v for k, v in bodies.items() if v > MOST_BODY_LINES} == {}


def test_a_function_is_seldom_a_detour():
    sources = read().values()
    single = sum(len(single_use(tree)) for tree in sources)
    total = sum(len(functions(tree)) for tree in sources)
    assert single / total < SINGLE_USE_SHARE


def test_a_private_function_of_one_caller_is_counted():
    tree = ast.parse("def _once(): ...\ndef _twice(): ...\n_once(_twice(_twice()))")
    assert single_use(tree) == ["_once"]


def test_the_package_can_be_imported_on_windows():
    lines = {
        name: [
            ast.unparse(node)
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            and "fcntl" in ast.unparse(node)
        ]
        for name, tree in read().items()
    }
    assert {k: v for k, v in lines.items() if v} == {}


def test_every_module_has_a_test_file_in_the_same_place():
    missing = []
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        inside = path.relative_to(ROOT / PACKAGE)
        mirrored = ROOT / "tests" / inside.with_name(f"test_{inside.name}")
        if path.name != "__init__.py" and not mirrored.exists():
            missing.append(str(inside))
    assert missing == []
