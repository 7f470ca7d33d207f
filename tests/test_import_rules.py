"""Who may import whom: what keeps every file one concern, read from the source by `ast`."""

import ast
import fnmatch
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / "aigc_jax"
FAMILIES = ("attention", "gan", "vae")
PARTS = {"gan": ("game", "sampling"), "vae": ("model", "heads")}
LINEN = "jax flax optax numpy"
READERS = "numpy PIL sklearn tokenizers tensorflow_datasets grain"

# What every module may import: rules stand beside the options of a config, and are refused or said.
EVERYONE = (".refusals", ".ranges")
# Modules -> what they may import beside the standard library: packages, and modules of aigc_jax,
# which begin with a dot. The first pattern that matches a module is its rule.
RULES = {
    "refusals": "",
    "renamed": "",
    "seeds": "",
    "kinds": "",
    "ranges": ".kinds",
    "core": LINEN,
    "config": ".kinds .renamed .seeds",
    "overrides": ".config .kinds",
    "guard": "jax numpy .core .optim .trend",
    "trend": "jax",
    "schedules": LINEN,
    "preprocess": LINEN,
    "layers.*": f"{LINEN} .layers.*",
    "attention.losses": "jax numpy .layers.shares",
    "*.losses": "jax numpy",
    "*.penalties": "jax numpy",
    "*.likelihoods": "jax numpy",
}
for family in FAMILIES:
    shared = f"{LINEN} .layers.* .preprocess .schedules .{family}.*"
    # The files that know of states and keys; networks, losses and the like do not.
    for module in ("algorithm", *PARTS.get(family, ())):
        RULES[f"{family}.{module}"] = f"{shared} .core"
    RULES[f"{family}.*"] = shared
RULES |= {
    "data.*": f"{READERS} .data.*",
    "media.*": "numpy PIL mido .media.*",
    "metrics.*": f"{LINEN} dm_pix .metrics.*",
    "health": "",
    "feed": "jax numpy .data.*",
    "events": "tensorboardX",
    "log": ".events",
    "launch": "jax .failure .launchers",
    "launchers": "",
    "lock": "jax .failure",
    "failure": "jax",
    "identity": "",
    "compiled.traffic": "jax .build .compiled.collectives .core .families .parallel",
    "compiled.*": "numpy .compiled.*",
    "sharding": "jax .core .names",
    "constraints": "jax flax .core .layers.shares",
    "describe_compiled": "jax numpy .build .compiled.* .compiling .core .flops .parallel",
    "storage.*": "jax numpy orbax .core .failure .renamed .storage.*",
    "checks": "jax .config .core .data.* .families .identity .names .optim .preprocess .sharding",
    "rollback": "jax numpy .build .checkpoint .core .guard .log .parallel .start",
    "profile": "jax",
    "memory": "jax .build .core .parallel",
    "start": "jax .build .checkpoint .core .finetune .log .memory .parallel .sharding",
    "flops": "jax numpy",
    "names": "jax flax .config .kinds",
    "families": ".config .names .schedules",
    "optim": "jax optax .core .schedules",
    "compiling": "jax",
    "parallel": "jax numpy .compiling .constraints .core .pmapped .sharding",
    "pmapped": "jax .core",
    "checkpoint": "jax numpy .core .storage.*",
    "stored_config": ".build .identity .renamed",
    "workdir": "jax .checkpoint .core .data.* .identity .sharding .stored_config",
    "vocabulary": ".data.* .names",
    "finetune": "jax .checkpoint .core .data.* .names .vocabulary",
    "build": "jax numpy .checks .config .core .data.* .families .guard .kinds .names .optim"
    " .overrides .preprocess .vocabulary",
    "samples": "jax numpy .build .compiling .config .core .data.* .media.* .ranges",
    "showing": "jax numpy .build .core .data.* .log .media.* .samples",
    "classes": ".config .data.*",
    "likeliest": "numpy .build .core .samples",
    "request": "numpy .build .classes .config .core .data.* .likeliest .media.* .memory .names"
    " .ranges .samples",
    "written": "numpy .build .classes .data.* .media.* .request .samples",
    "describe": "jax flax numpy .build .checks .core .describe_compiled .families .finetune .flops"
    " .names .parallel .samples .schedules .sharding .stored_config",
    "loop": "jax numpy .build .checkpoint .checks .config .core .data.* .failure .feed .finetune"
    " .guard .health .launch .lock .log .memory .parallel .profile .rollback .samples .showing"
    " .start .workdir",
    "evaluation.*": "jax flax numpy .build .classes .config .core .data.* .describe .evaluation.*"
    " .families .feed .log .media.* .metrics.* .names .parallel .preprocess .samples .seeds",
    "evaluate": ".build .checkpoint .config .data.* .evaluation.* .launch .parallel .samples .seeds"
    " .start .stored_config .vocabulary .workdir",
}
# Packages without which the other parts of the project work, or that are slow to import.
OPTIONAL = ("tensorflow_datasets", "grain", "tensorboardX", "sklearn", "tokenizers", "PIL") + (
    "dm_pix",
    "mido",
)


def names_of_modules() -> list[str]:
    paths = sorted(PACKAGE.rglob("*.py"))
    names = [".".join(p.relative_to(PACKAGE).with_suffix("").parts) for p in paths]
    return [name for name in names if not name.endswith("__init__")]


MODULES = names_of_modules()


def is_module(dotted: str) -> bool:
    return (ROOT / (dotted.replace(".", "/") + ".py")).exists()


def imports(tree: ast.AST, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether it is inside a function) of everything that a module imports."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield (name if is_module(name) else base), inside
        else:
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, inside or function)


def short(dotted: str) -> str:
    """A package's top level; a module of the project from its dot on: ".data.order"."""
    top, _, rest = dotted.partition(".")
    return f".{rest}" if top == "aigc_jax" else top


def imports_of(path: pathlib.Path) -> list[tuple[str, bool]]:
    """Imports of a file beside the standard library, as `short` names."""
    found = imports(ast.parse(path.read_text()))
    return [(short(n), f) for n, f in found if n.split(".")[0] not in sys.stdlib_module_names]


def path_of(module: str) -> pathlib.Path:
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def rule_of(module: str) -> list[str]:
    for pattern, allowed in RULES.items():
        if fnmatch.fnmatchcase(module, pattern):
            return allowed.split()
    pytest.fail(f"aigc_jax.{module} has no rule: say in {__file__} what it may import")


def test_imports_are_found_with_their_place():
    tree = ast.parse(
        "import jax.numpy as jnp\nfrom aigc_jax.data import order\nfrom . import other\n"
        "def f():\n    with g():\n        from aigc_jax.core import State\n"
    )
    assert list(imports(tree)) == [
        ("jax.numpy", False),
        ("aigc_jax.data.order", False),
        (".", False),
        ("aigc_jax.core", True),
    ]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_rule_allows(module):
    allowed = [*rule_of(module), *EVERYONE]
    for name, _ in imports_of(path_of(module)):
        fits = any(fnmatch.fnmatchcase(name, pattern) for pattern in allowed)
        assert fits, f"aigc_jax.{module} imports {name}; it may import {', '.join(allowed)}"


def test_every_rule_is_about_a_module():
    used = {p for p in RULES if any(fnmatch.fnmatchcase(m, p) for m in MODULES)}
    assert used == set(RULES)


def test_every_family_has_its_rules():
    assert {m.split(".")[0] for m in MODULES if m.endswith(".algorithm")} == set(FAMILIES)


@pytest.mark.parametrize("module", MODULES)
def test_optional_packages_are_imported_where_they_are_needed(module):
    eager = {name for name, inside in imports_of(path_of(module)) if not inside}
    assert not eager & set(OPTIONAL), f"aigc_jax.{module}: import these inside functions"


@pytest.mark.parametrize("script", ["train.py", "sample.py"])
def test_scripts_import_nothing_slow_before_their_flags_are_read(script):
    eager = {name for name, inside in imports_of(ROOT / script) if not inside}
    assert eager <= {"numpy"}


def test_configs_are_plain_values():
    for path in (ROOT / "configs").glob("*.py"):
        assert {name for name, _ in imports_of(path)} <= {".config"}, path


def test_data_media_and_reports_work_without_jax():
    code = (
        "import sys; import aigc_jax.data.load, aigc_jax.media.images, aigc_jax.evaluation.page; "
        "print('jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_files_are_small_and_named_by_what_they_hold():
    for path in (*ROOT.glob("*.py"), *PACKAGE.rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")):
        assert path.stem not in ("utils", "util", "helpers", "misc", "common"), path
        lines = len(path.read_text().splitlines())
        assert lines <= 300, f"{path} has {lines} lines: find the two concerns in it"


def test_no_two_files_of_tests_have_one_name():
    """Without packages their names are all that tells them apart, to processes that they start."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py")]
    assert not [name for name in set(names) - {"conftest.py"} if names.count(name) > 1]
