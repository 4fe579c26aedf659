"""The law of the house as a test: who may import whom, what is never written, and how long it is.

The checker reads source with `ast` and runs nothing. What counts as public, and so is held to
four positional arguments: the functions and classes that `rnnjax`, `rnnjax.nnx` or
`rnnjax.linen` re-export, with the methods of those classes. Internal helpers may take more.
"""

import ast
import graphlib
import pathlib
import sys
from collections.abc import Iterator

import pytest

import rnnjax

ROOT = pathlib.Path(rnnjax.__file__).parent

LAYERS = (  # lowest first; what shares a line may not import each other
    ("_typing", "_checks"),
    ("cells",),
    ("methods",),
    ("sequence",),
    ("storage",),
    ("nnx", "linen", "interop", "plots", "testing", "data"),
    ("export", "train"),
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

ANYWHERE = {"jax", "numpy", "__future__", *sys.stdlib_module_names}
ONLY_IN = {  # of third parties, everything else is no dependency of ours
    "flax": {"nnx", "linen", "train"},
    "optax": {"train"},
    "orbax": {"train"},
    "safetensors": {"storage"},
    "rich": {"train"},
    "tensorboardX": {"train"},
    "grain": {"data"},
    "matplotlib": {"plots"},
    "torch": {"interop"},
    "keras": {"interop"},
    "onnx": {"export", "interop"},
    "jaxtyping": {"_typing"},
}
LAZY = set(ONLY_IN) - {"flax", "optax", "jaxtyping"}  # imported by the function that needs it
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
UNSAFE_LOADS = {"torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pd.read_pickle"}
ELSEWHERE = ("examples", "benchmarks", "tests", "native", "hatch_build.py")  # ours, not the package
OWN_CODE = {("tests/test_docs.py", "exec()"), ("tests/test_docs.py", "compile()")}  # of our pages

FILE_LINES, BODY_LINES, POSITIONAL = 400, 60, 4
PUBLIC_INITS = ("", "nnx", "linen", "data", "train", "plots", "interop", "export")


class Source:
    """One module: its place in the package, and its syntax tree."""

    def __init__(self, root: pathlib.Path, path: pathlib.Path):
        parts = path.relative_to(root).with_suffix("").parts
        self.lines = path.read_text().splitlines()
        self.tree = ast.parse("\n".join(self.lines))
        self.file = str(path.relative_to(root))
        self.home = parts[0]  # `__init__` for the public namespace
        self.name = ".".join((root.name, *(part for part in parts if part != "__init__")))


class Import:
    """One imported module, and where the statement stands."""

    def __init__(self, name: str, line: int, *, deferred: bool, for_types: bool):
        self.name, self.line = name, line
        self.deferred = deferred  # inside a function
        self.for_types = for_types  # under `if TYPE_CHECKING`


def sources(root: pathlib.Path) -> list[Source]:
    return [Source(root, path) for path in sorted(root.rglob("*.py"))]


def imports(source: Source) -> Iterator[Import]:
    """Every import statement; a relative one is named by its dots."""

    def walk(node: ast.AST, deferred: bool, for_types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typed = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                start = "." * child.level + (child.module or "")
                names = [f"{start}.{alias.name}" for alias in child.names]
            else:
                names = []
            for name in names:
                yield Import(name, child.lineno, deferred=deferred, for_types=for_types)
            yield from walk(child, deferred or inside, for_types or typed)

    return walk(source.tree, False, False)


def import_law(source: Source, package: str) -> Iterator[tuple[int, str]]:
    for item in imports(source):
        top, *rest = item.name.split(".")
        if top == "":
            yield item.line, "relative import"
        elif top == package:
            yield from inner_law(source, item, rest)
        elif top in UNSAFE_MODULES:
            yield item.line, f"{top} runs code when it loads"
        elif top in ONLY_IN:
            if source.home not in ONLY_IN[top]:
                yield item.line, f"{source.home} may not import {top}"
            elif top in LAZY and not (item.deferred or item.for_types):
                yield item.line, f"{top} imported at module level"
        elif top not in ANYWHERE:
            yield item.line, f"{top} is no dependency"
        elif rest[:1] == ["_src"]:
            yield item.line, f"private module of {top}"


def inner_law(source: Source, item: Import, rest: list[str]) -> Iterator[tuple[int, str]]:
    if source.home == "__init__":
        return  # the public namespace re-exports from everywhere
    there = rest[0] if rest else "the public namespace"
    if there == source.home:
        return
    if there not in LEVEL:
        yield item.line, f"{source.home} may not import {there}"
    elif source.home not in LEVEL:
        yield item.line, f"{source.home} has no place in the layers"
    elif LEVEL[there] >= LEVEL[source.home]:
        yield item.line, f"{source.home} may not import {there}"


def forbidden_code(source: Source) -> Iterator[tuple[int, str]]:
    yield from unsafe_code(source)
    for node in ast.walk(source.tree):
        called = dotted(node.func) if isinstance(node, ast.Call) else ""
        if called.endswith("config.update"):
            yield node.lineno, "changes the settings of jax"


def dotted(node: ast.AST) -> str:
    """The name of what is called, such as `torch.load`; empty where it has none."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe_code(source: Source) -> Iterator[tuple[int, str]]:
    """What runs what it reads, or a text, as code."""
    for item in imports(source):
        if item.name in UNSAFE_LOADS or item.name.startswith("builtins."):
            yield item.line, f"{item.name} by another name"
    for node in ast.walk(source.tree):
        called = dotted(node.func) if isinstance(node, ast.Call) else ""
        if called in UNSAFE_CALLS:
            yield node.lineno, f"{called}()"
        if called in UNSAFE_LOADS or called.endswith(".read_pickle"):
            if not says(node, "weights_only", True):
                yield node.lineno, f"{called}() of pickles"
        for name in ("allow_pickle", "shell", "safe_mode"):  # of NumPy, of subprocess, of Keras
            if any(keyword.arg == name for keyword in getattr(node, "keywords", ())):
                if not says(node, name, name == "safe_mode"):
                    yield node.lineno, name


def says(node: ast.AST, name: str, wanted: bool) -> bool:
    """Whether a call has this very option."""
    found = [k.value for k in getattr(node, "keywords", ()) if k.arg == name]
    return any(isinstance(value, ast.Constant) and value.value is wanted for value in found)


def unsafe_modules(source: Source) -> Iterator[tuple[int, str]]:
    for item in imports(source):
        top = item.name.split(".")[0]
        if top in UNSAFE_MODULES:
            yield item.line, f"{top} runs code when it loads"


def sizes(source: Source) -> Iterator[tuple[int, str]]:
    if len(source.lines) > FILE_LINES:
        yield 1, f"{len(source.lines)} lines"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            count = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if count > BODY_LINES:
                yield node.lineno, f"the body of {node.name} has {count} lines"


def cycles(found: list[Source]) -> list[str]:
    """The modules of one import cycle, if there is any; deferred imports count."""
    names = {source.name for source in found}
    graph = {}
    for source in found:
        wanted = {item.name for item in imports(source)}
        parents = {name.rpartition(".")[0] for name in wanted - names}
        graph[source.name] = (wanted | parents) & names - {source.name}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def exported(source: Source) -> set[str]:
    """The names that an `__init__` re-exports with `import x as x`."""
    froms = [node for node in ast.walk(source.tree) if isinstance(node, ast.ImportFrom)]
    return {alias.asname for node in froms for alias in node.names if alias.asname == alias.name}


def public_functions(found: list[Source], package: str) -> Iterator[tuple[Source, ast.FunctionDef]]:
    inits = {".".join(filter(None, (package, name))) for name in PUBLIC_INITS}
    names = set().union(*(exported(source) for source in found if source.name in inits))
    for source in found:
        for node in source.tree.body:
            if isinstance(node, ast.FunctionDef) and node.name in names:
                yield source, node
            if isinstance(node, ast.ClassDef) and node.name in names:
                methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
                for method in methods:
                    if method.name in ("__init__", "__call__") or not method.name.startswith("_"):
                        yield source, method


def positional(node: ast.FunctionDef) -> int:
    """How many arguments may be given by position; `self` is not counted, nor is `*args`."""
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return len(names) - (names[:1] == ["self"])


def violations(root: pathlib.Path) -> list[str]:
    found, out = sources(root), []
    for source in found:
        laws = (import_law(source, root.name), forbidden_code(source), sizes(source))
        out += [f"{source.file}:{line}: {text}" for law in laws for line, text in law]
    for source, node in public_functions(found, root.name):
        if positional(node) > POSITIONAL:
            text = f"{node.name} takes {positional(node)} positional arguments"
            out.append(f"{source.file}:{node.lineno}: {text}")
    loop = cycles(found)
    return out + ([f"cycle: {' -> '.join(loop)}"] if loop else [])


def test_the_law_holds():
    assert violations(ROOT) == []


def unsafe_elsewhere(root: pathlib.Path) -> list[str]:
    """Of what is no part of the package, but runs on somebody's machine."""
    paths = [root / name for name in ELSEWHERE]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))]
    out = []
    for source in (Source(root, file) for file in sorted(files)):
        for line, text in (*unsafe_code(source), *unsafe_modules(source)):
            if (source.file, text) not in OWN_CODE:
                out.append(f"{source.file}:{line}: {text}")
    return out


def test_nothing_of_ours_runs_what_it_reads():
    assert unsafe_elsewhere(ROOT.parent) == []


def test_every_module_has_a_place():
    homes = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert homes - {"__init__", "__pycache__", "py"} <= set(LEVEL)


def test_public_names_are_found():
    """The rule for positional arguments is not empty: it sees functions, classes and methods."""
    names = {node.name for _, node in public_functions(sources(ROOT), "rnnjax")}
    assert {"unroll", "lstm", "stack", "apply", "run", "__init__", "__call__"} <= names


PUBLIC = sorted(exported(Source(ROOT, ROOT / "__init__.py")))


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_has_a_docstring(name):
    thing = getattr(rnnjax, name)
    text = vars(thing).get("__doc__") if isinstance(thing, type) else thing.__doc__
    # A NamedTuple or dataclass without one is given `Name(field, ...)`.
    assert text and not text.startswith(f"{name}("), f"rnnjax.{name} has no docstring"


# --- The checker itself, on toy packages.

CLEAN = {
    "__init__.py": "from toy.cells import lstm as lstm\nfrom toy.methods.scan import Scan as Scan",
    "_checks.py": "import math\nimport jax.numpy as jnp",
    "cells.py": "from toy import _checks\ndef lstm(a, b, c, d, *, e=1): pass",
    "methods/__init__.py": "",
    "methods/base.py": "import toy.cells",
    "methods/scan.py": (
        "from toy.methods import base\n"
        "from toy.cells import lstm\n"
        "class Scan:\n    def run(self, a, b, c, d): return jax.eval_shape(a)"
    ),
    "nnx.py": "from flax import nnx\nfrom toy.methods.scan import Scan",
    "plots.py": "def draw():\n    import matplotlib.pyplot as plt",
    "train.py": "import optax\nfrom toy import nnx\ndef save():\n    from orbax import checkpoint",
    "sequence.py": "def f(x):\n    '''" + "\n" * 70 + "'''\n" + "    x = 1\n" * 60,
}

# What is planted, and what must be said of it, and nothing else.
PLANTED = {
    "upward": (
        {"cells.py": "from toy.sequence import f"},
        "cells.py:1: cells may not import sequence",
    ),
    "upward, in a function": (
        {"methods/base.py": "def f():\n    import toy.plots"},
        "methods/base.py:2: methods may not import plots",
    ),
    "sibling": ({"linen.py": "from toy.nnx import RNN"}, "linen.py:1: linen may not import nnx"),
    "sibling at the bottom": (
        {"_typing.py": "from toy import _checks"},
        "_typing.py:1: _typing may not import _checks",
    ),
    "public namespace": (
        {"nnx.py": "import toy"},
        "nnx.py:1: nnx may not import the public namespace",
    ),
    "public name": ({"nnx.py": "from toy import lstm"}, "nnx.py:1: nnx may not import lstm"),
    "no place": (
        {"extras.py": "from toy import cells"},
        "extras.py:1: extras has no place in the layers",
    ),
    "relative": ({"nnx.py": "from . import cells"}, "nnx.py:1: relative import"),
    "flax": ({"sequence.py": "import flax"}, "sequence.py:1: sequence may not import flax"),
    "flax in the namespace": (
        {"__init__.py": "from flax import nnx"},
        "__init__.py:1: __init__ may not import flax",
    ),
    "optax": ({"nnx.py": "import optax"}, "nnx.py:1: nnx may not import optax"),
    "orbax": (
        {"train.py": "import orbax.checkpoint"},
        "train.py:1: orbax imported at module level",
    ),
    "matplotlib": (
        {"train.py": "def f():\n    import matplotlib"},
        "train.py:2: train may not import matplotlib",
    ),
    "not deferred": (
        {"plots.py": "try:\n    import matplotlib\nexcept ImportError: pass"},
        "plots.py:2: matplotlib imported at module level",
    ),
    "torch": (
        {"interop.py": "from torch import nn"},
        "interop.py:1: torch imported at module level",
    ),
    "stranger": ({"cells.py": "import chex"}, "cells.py:1: chex is no dependency"),
    "private jax": ({"cells.py": "from jax._src import core"}, "cells.py:1: private module of jax"),
    "pickle": ({"train.py": "import pickle"}, "train.py:1: pickle runs code when it loads"),
    "eval": ({"cells.py": "x = eval('1')"}, "cells.py:1: eval()"),
    "allow_pickle": ({"cells.py": "np.load(f, allow_pickle=True)"}, "cells.py:1: allow_pickle"),
    "compile": ({"cells.py": "x = compile('1', '', 'eval')"}, "cells.py:1: compile()"),
    "import by a text": ({"cells.py": "__import__('os')"}, "cells.py:1: __import__()"),
    "torch.load": ({"interop.py": "torch.load(f)"}, "interop.py:1: torch.load() of pickles"),
    "yaml": ({"train.py": "yaml.load(f)"}, "train.py:1: yaml.load() of pickles"),
    "shell": ({"train.py": "run(f, shell=True)"}, "train.py:1: shell"),
    "keras": ({"interop.py": "load_model(f, safe_mode=False)"}, "interop.py:1: safe_mode"),
    "another name": (
        {"cells.py": "from builtins import eval as harmless"},
        "cells.py:1: builtins.eval by another name",
    ),
    "settings": (
        {"cells.py": "jax.config.update('jax_enable_x64', True)"},
        "cells.py:1: changes the settings of jax",
    ),
    "long file": ({"cells.py": "x = 1\n" * 401}, "cells.py:1: 401 lines"),
    "long body": (
        {"cells.py": "def f():\n    '''Doc.'''\n" + "    x = 1\n" * 61},
        "cells.py:1: the body of f has 61 lines",
    ),
    "five arguments": (
        {"cells.py": "def lstm(a, b, c, d, e): pass\ndef helper(a, b, c, d, e): pass"},
        "cells.py:1: lstm takes 5 positional arguments",
    ),
    "five arguments of a method": (
        {"methods/scan.py": "class Scan:\n    def __init__(self, a, b, c, /, d, e, *args): pass"},
        "methods/scan.py:2: __init__ takes 5 positional arguments",
    ),
    "cycle": (
        {"methods/base.py": "def f():\n    from toy.methods.scan import Scan"},
        "cycle: toy.methods.scan -> toy.methods.base -> toy.methods.scan",
    ),
    "cycle through the package": (
        {
            "methods/__init__.py": "from toy.methods.base import f",
            "methods/base.py": "from toy.methods import g",
        },
        "cycle: toy.methods -> toy.methods.base -> toy.methods",
    ),
}


def plant(folder: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    root = folder / "toy"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_checker_finds_nothing_in_a_clean_tree(tmp_path):
    assert violations(plant(tmp_path, CLEAN)) == []


@pytest.mark.parametrize("name", PLANTED)
def test_checker_finds_what_is_planted(name, tmp_path):
    files, wanted = PLANTED[name]
    found = violations(plant(tmp_path, CLEAN | files))
    if wanted.startswith("cycle: "):  # it has no first module
        unordered = lambda text: set(text.removeprefix("cycle: ").split(" -> "))
        assert [unordered(line) for line in found] == [unordered(wanted)]
    else:
        assert found == [wanted]


def test_checker_sees_what_stands_beside_the_package(tmp_path):
    texts = {
        "examples/a.py": "import pickle",
        "benchmarks/peers/b.py": "def f():\n    torch.load(f, weights_only=False)",
        "tests/test_c.py": "exec('1')",
        "tests/test_docs.py": "exec(compile('1', '', 'exec'))\neval('1')",
        "tests/sound.py": "np.load(f, allow_pickle=False)\ntorch.load(f, weights_only=True)",
        "hatch_build.py": "os.system('x')",
        "elsewhere/d.py": "import pickle",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert sorted(unsafe_elsewhere(tmp_path)) == [
        "benchmarks/peers/b.py:2: torch.load() of pickles",
        "examples/a.py:1: pickle runs code when it loads",
        "hatch_build.py:1: os.system()",
        "tests/test_c.py:1: exec()",
        "tests/test_docs.py:2: eval()",
    ]
