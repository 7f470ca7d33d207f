"""No module can execute what it reads: seen in the source, by `ast`."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
FORBIDDEN = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
FORBIDDEN |= {"jsonpickle", "pandas", "torch", "code", "runpy"}
SOURCES = sorted([*(ROOT / "aigc_jax").rglob("*.py"), ROOT / "train.py", ROOT / "sample.py"])


def imported(tree):
    """The packages that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_can_execute_what_it_reads(path):
    tree = ast.parse(path.read_text())
    assert not set(imported(tree)) & FORBIDDEN
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
        assert name not in ("eval", "exec", "builtins.eval", "builtins.exec", "__import__")
        assert not name.endswith(("yaml.load", "yaml.unsafe_load", "read_pickle"))
        if name in ("np.load", "numpy.load", "jnp.load"):
            assert keywords.get("allow_pickle") == "False"
        assert keywords.get("allow_pickle", "False") == "False"
