"""The law of the house: who may import whom, what is never written, and how long it is.

The checker reads source with `ast` and runs nothing. What counts as public, and so is held to
four positional arguments: the functions and classes that `rnnjax` and its rooms re-export, with
the methods of those classes. Internal helpers may take more.
"""

import ast
import graphlib
import pathlib
import sys
from collections.abc import Iterator

import rnnjax

ROOT = pathlib.Path(rnnjax.__file__).parent

LAYERS = (  # lowest first; what shares a line may not import each other
    ("_typing", "_checks"),
    ("cells",),
    ("methods",),
    ("sequence",),
    ("storage",),
    # `decoding` stands beside `data`: it needs layers and JAX, and `train` may generate.
    ("nnx", "linen", "interop", "plots", "testing", "data", "decoding"),
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
PUBLIC_INITS = ("", "nnx", "linen", "data", "decoding", "train", "plots", "interop", "export")


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


def length(source: Source) -> Iterator[tuple[int, str]]:
    if len(source.lines) > FILE_LINES:
        yield 1, f"{len(source.lines)} lines"


def bodies(source: Source) -> Iterator[tuple[int, str]]:
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
        laws = (
            import_law(source, root.name),
            forbidden_code(source),
            length(source),
            bodies(source),
        )
        out += [f"{source.file}:{line}: {text}" for law in laws for line, text in law]
    for source, node in public_functions(found, root.name):
        if positional(node) > POSITIONAL:
            text = f"{node.name} takes {positional(node)} positional arguments"
            out.append(f"{source.file}:{node.lineno}: {text}")
    loop = cycles(found)
    return out + ([f"cycle: {' -> '.join(loop)}"] if loop else [])


def violations_elsewhere(root: pathlib.Path) -> list[str]:
    """Of what is no part of the package, but runs on somebody's machine."""
    paths = [root / name for name in ELSEWHERE]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))]
    out = []
    for source in (Source(root, file) for file in sorted(files)):
        for line, text in (*unsafe_code(source), *unsafe_modules(source), *length(source)):
            if (source.file, text) not in OWN_CODE:
                out.append(f"{source.file}:{line}: {text}")
    return out
