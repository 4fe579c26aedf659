"""The checker of the law itself, on toy packages."""

import pathlib

import pytest
from law import violations, violations_elsewhere

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
        "tests/test_long.py": "x = 1\n" * 401,
        "elsewhere/d.py": "import pickle",
    }
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert sorted(violations_elsewhere(tmp_path)) == [
        "benchmarks/peers/b.py:2: torch.load() of pickles",
        "examples/a.py:1: pickle runs code when it loads",
        "hatch_build.py:1: os.system()",
        "tests/test_c.py:1: exec()",
        "tests/test_docs.py:2: eval()",
        "tests/test_long.py:1: 401 lines",
    ]
