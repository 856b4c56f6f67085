"""Imports point one way, torch stays out of what must start fast, and methods stay in their files.

`ALLOWED` is the design: a new folder or module of ngptlab/ must be added here, with what it may know.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ngptlab
from ngptlab import methods

PACKAGE = Path(ngptlab.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
ROOT = "__init__"

BASE = {
    "errors",
    "json_text",
    "disk",
    "folders",
    "config",
    "terminal",
    "console",
    "listing",
    "output",
    "discover",
}
MODEL = BASE | {"nn", "sizes"}
RUNNING = MODEL | {
    ROOT,
    "learned",
    "method_files",
    "runs",
    "streams",
    "whole",
    "device",
    "world",
    "param",
    "optim",
    "methods",
    "data",
    "train",
    "measure",
    "tracking",
}
STUDYING = BASE | {"runs", "streams", "whole", "learned", "flops", "stats", "draw"}

# A unit is a folder or a module right under ngptlab/. What it may import, besides itself.
ALLOWED: dict[str, set[str]] = {
    ROOT: {"threads"},
    "threads": set(),
    "errors": set(),
    "json_text": set(),
    "disk": {"json_text"},
    "terminal": {"output"},
    "console": {"terminal"},
    "listing": {"terminal"},
    "folders": {"disk"},
    "output": set(),
    "discover": {"errors"},
    "config": {"errors", "json_text", "disk"},
    "overrides": BASE | {"data", "method_files"},
    "method_files": BASE | {"data"},
    "frames": {"errors"},
    "streams": {"json_text"},
    "runs": BASE | {"streams", "method_files", "frames", "draw"},
    "whole": BASE | {"runs", "streams"},
    "ledger": BASE | {"runs", "streams", "whole", "optim", "method_files"},
    "tail": {"json_text", "disk"},
    "tracking": BASE | {"runs", "streams", "tail"},
    "flops": {"config"},
    "gpus": {"errors"},
    "sizes": {"config", "disk", "errors"},
    "learned": set(),
    "data": BASE | {"draw"},
    "device": BASE | {"sizes", "gpus"},
    "world": BASE | {"device"},
    "nn": BASE,
    "param": MODEL,
    "optim": MODEL | {"param"},
    "methods": MODEL | {"param", "method_files"},
    "train": MODEL | {"runs", "streams", "whole", "device", "world", "param", "optim", "flops"},
    "stats": BASE | {"runs", "streams", "whole", "flops", "learned"},
    "draw": BASE,
    "claims": BASE | {"stats"},
    "recipes": BASE | {"claims", "overrides", "method_files"},
    "smoke": {"config", "data", "recipes", "sizes"},
    "options": BASE
    | {"method_files", "train", "world", "recipes", "smoke", "ledger", "stats", "overrides", "gpus"},
    "measure": MODEL | {"runs", "data", "device", "world", "stats", "draw", "options", "claims"},
    "sampling": MODEL,
    "conformance": MODEL | {"methods", "method_files", "optim", "train"},
    "bench": MODEL | {"methods", "optim", "device", "flops", "draw"},
    "introduction": {"config", "data", "device", "nn"},
    "initial_model": MODEL | {"methods"},
    "experiment": RUNNING | {"introduction", "initial_model"},
    "trained": RUNNING | {"initial_model"},
    "export": RUNNING | {"initial_model", "trained"},
    "stack": RUNNING | {"experiment", "initial_model"},
    "jobs": RUNNING
    | {"flops", "plan", "ledger", "experiment", "trained", "stats", "stack", "overrides", "recipes"},
    "scripting": RUNNING
    | {"compare", "experiment", "trained", "sampling", "jobs", "ledger", "options", "overrides", "recipes"},
    "compare": {"jobs", "ledger", "overrides", "recipes", "report"},
    "studies": RUNNING
    | STUDYING
    | {
        "claims",
        "conformance",
        "options",
        "jobs",
        "ledger",
        "overrides",
        "recipes",
        "experiment",
        "initial_model",
    },
    "report": STUDYING | {"studies", "claims"},
    "evidence": STUDYING | {"claims", "studies", "measure", "ledger", "report"},
    "watch": BASE | {"runs", "streams", "whole", "tail", "train"},
    "plan": MODEL | {"device", "methods", "data", "flops", "gpus", "train", "world"},
}
ALLOWED["verbs"] = set(ALLOWED)
ALLOWED["cli"] = set(ALLOWED)
ALLOWED["__main__"] = {"cli"}

NO_TORCH = {
    ROOT,
    "errors",
    "json_text",
    "disk",
    "terminal",
    "console",
    "listing",
    "folders",
    "output",
    "discover",
    "config",
    "flops",
    "gpus",
    "sizes",
    "learned",
    "method_files",
    "overrides",
    "frames",
    "streams",
    "runs",
    "whole",
    "ledger",
    "tail",
    "threads",
    "tracking",
    "recipes",
    "data",
    "stats",
    "draw",
    "report",
    "watch",
    "claims",
    "evidence",
    "options",
    "verbs",
    "cli",
}
BRINGS_TORCH = {"torch", "safetensors", "transformers", "accelerate"}
LOADS_BY_NAME = {
    ROOT,
    "discover",
    "method_files",
    "methods",
    "recipes",
}  # may use importlib: the public API, and one file a method or recipe

RUNS = {
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "builtins.compile"),
    *("os.system", "os.popen", "dcp.load", "torch.distributed.checkpoint.load"),
}
"""Calls that run a text, or what a text names."""
READ_TENSORS = {"export/pickled.py"}
"""Files that may read a pickle's tensors: checkpoints of other implementations come as nothing else."""

WRITE_THEMSELVES = {"disk.py", "folders.py", "output.py"}
"""Files that open files for writing; all others do so through the first two. (The third opens /dev/null.)"""
PUT_ON_DISK = {"disk.py", "folders.py"}
"""Files that give names, lock, and wait for the disk; all others ask them to."""
READS: dict[str, dict[str, str]] = {
    "disk.py": {"os.open": "with O_NONBLOCK, then held against the rule", "read_bytes": "its own"},
    "export/foreign_state.py": {"load_file": "of what check_regular() says is one"},
    "export/pickled.py": {"torch.load": "of what open_regular() opened"},
    "train/checkpoint.py": {"load_file": "of what open_regular opened"},
    "output.py": {"os.open": "of /dev/null"},
    "data/text/formats.py": {"parquet.ParquetFile": "after check_regular"},
    "data/prepare/datatrove_steps.py": {
        "np.load": "mapped, of what open_regular opened",
        "np.memmap": "after check_regular",
        "self.job.open": "opens no file",
    },
    "data/tokens/gpt2.py": {"tiktoken.get_encoding": "its cache was looked through"},
}
"""Calls that read files without disk.py, and why they may. A FIFO blocks for ever, and a file may have any size."""
READING = {
    "read_text",
    "read_bytes",
    "load_file",
    "safe_open",
    "from_file",
    "ParquetFile",
    "fromfile",
    "memmap",
    "genfromtxt",
}
READING_OF = {
    "np.load",
    "numpy.load",
    "torch.load",
    "loadtxt",
    "gzip.open",
    "bz2.open",
    "tiktoken.get_encoding",
}

# (file, line) of mentions that stand although they name a method outside methods/ and recipes/.
MAX_LINES = 400
MAX_FUNCTION_LINES = 60


DATA_ROOMS: dict[str, set[str]] = {
    "text": set(),
    "tokens": set(),
    "shards": {"text", "tokens"},
    "prepare": {"text", "tokens", "shards"},
    "batches.py": {"shards"},
    "corpus.py": {"text", "tokens", "shards", "prepare"},
}
"""What the rooms of data/, and the files that stand beside them, may know of one another."""


def unit_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def resolve(module: str, name: str | None = None) -> str:
    """The unit behind `import module` or `from module import name`."""
    parts = module.split(".")
    if len(parts) > 1:
        return parts[1]
    if name is None:
        return ROOT
    home = ngptlab._HOMES.get(name)  # through the public API: what counts is where the name lives
    if home is not None:
        return home.split(".")[1]
    return name if name in ALLOWED else ROOT


def imports(tree: ast.AST) -> Iterator[tuple[int, str, str | None]]:
    """(line, module, name) of every import, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, None
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; write it out"
            for alias in node.names:
                yield node.lineno, node.module or "", alias.name


def wrong_imports(unit: str, tree: ast.AST) -> list[str]:
    found = []
    for line, module, name in imports(tree):
        top = module.split(".")[0]
        if top == "ngptlab":
            target = resolve(module, name)
            if target not in ALLOWED:
                found.append(f"line {line}: ngptlab.{target} is not in the table; add it")
            elif target != unit and target not in ALLOWED[unit]:
                found.append(f"line {line}: {unit} must not know {target}")
        elif top in BRINGS_TORCH and unit in NO_TORCH:
            found.append(f"line {line}: {unit} must not import {top}")
        elif top == "matplotlib" and unit != "draw":
            found.append(f"line {line}: only draw knows matplotlib; build the figure from draw.panels")
        elif top == "importlib" and name != "metadata" and unit not in LOADS_BY_NAME:
            found.append(f"line {line}: {unit} must not import by name")
    return found


def forbidden(tree: ast.AST, *, may_read_tensors: bool = False) -> list[str]:
    """Ways to run code that came with data. Read from the syntax tree: `model.eval()` is none of them.

    A file that `may_read_tensors` may call `torch.load` with a literal `weights_only=True`.
    """
    found = []
    pickles = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "runpy", "code"}
    loads = {"torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "torch.save"}
    for line, module, name in imports(tree):
        if module.split(".")[0] in pickles or f"{module}.{name}" in loads:
            found.append(f"line {line}: imports {module}")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        safely = any(ast.unparse(keyword) == "weights_only=True" for keyword in node.keywords)
        if may_read_tensors and called == "torch.load" and safely:
            continue
        if called in RUNS | loads or called.endswith((".extractall", ".unpack_archive")):
            found.append(f"line {node.lineno}: {called}(...)")
        for keyword in node.keywords:
            given = ast.unparse(keyword.value)
            if (keyword.arg == "allow_pickle" and given != "False") or f"{keyword.arg}={given}" in (
                "shell=True",
                "trust_remote_code=True",
            ):
                found.append(f"line {node.lineno}: {keyword.arg}")
    return found


def own_writes(tree: ast.AST) -> list[str]:
    """Files written otherwise than by disk.py: they may follow a link, be left half written, or fail without a name."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        modes = [*node.args[:2], *(k.value for k in node.keywords if k.arg == "mode")]
        writes = any(
            isinstance(mode, ast.Constant) and re.fullmatch("[rwax+bt]*[wax+][bt+]*", str(mode.value))
            for mode in modes
        )
        if re.search(
            r"(?<!\bdisk)\.(write_text|write_bytes|touch)$|^tempfile\.|^shutil\.(copy2?|copyfile|copytree|move)$",
            called,
        ):
            found.append(f"line {node.lineno}: {called}(...)")
        elif re.search(r"(^|\.)open$", called) and writes:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def own_names_and_locks(tree: ast.AST) -> list[str]:
    """Renames, locks and waits for the disk: a rename without an fsync, or a lock that no one else knows, looks right."""
    found = [f"line {line}: imports fcntl" for line, module, _ in imports(tree) if module == "fcntl"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            names = called in ("os.replace", "os.rename", "os.link", "os.fsync") or called.endswith(".rename")
            # A text's `replace` has two arguments.
            names |= called.endswith(".replace") and len(node.args) == 1 and not node.keywords
            if names:
                found.append(f"line {node.lineno}: {called}(...)")
    return found


def raw_reads(tree: ast.AST) -> list[str]:
    """Calls that open a file for reading by another way than disk.py, as 'line 3: path.open'."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        owner, _, name = called.rpartition(".")
        modes = [*node.args[: 1 if owner else 2][-1:], *(k.value for k in node.keywords if k.arg == "mode")]
        writes = any(isinstance(m, ast.Constant) and str(m.value)[:1] in {"w", "x", "a"} for m in modes)
        opens = name == "open" and owner not in {"disk", "os", "Run", "tarfile"} and not writes
        if called == "os.open":
            flags = ast.unparse(node.args[1])
            opens = "O_WRONLY" not in flags and "O_DIRECTORY" not in flags
        if (owner != "disk" and (name in READING or opens)) or called in READING_OF:
            found.append(f"line {node.lineno}: {called}")
    return found


def mentions(text: str) -> list[str]:
    """Lines that hold a method's name as a whole word, as itself or with dashes."""
    names = {spelling for name in methods.names() for spelling in (name, name.replace("_", "-"))}
    word = re.compile(rf"(?<![\w-])(?:{'|'.join(sorted(names))})(?![\w-])")
    return [line.strip() for line in text.splitlines() if word.search(line)]


by_file = pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))


@by_file
def test_imports_point_one_way(path: Path) -> None:
    unit = unit_of(path)
    assert unit in ALLOWED, f"{unit} is new: add it to ALLOWED, with what it may import"
    assert wrong_imports(unit, ast.parse(path.read_text(encoding="utf-8"))) == []


def test_the_table_has_no_circle_and_no_dead_entry() -> None:
    assert set(ALLOWED) == {unit_of(path) for path in SOURCES}
    left = {unit: knows - {ROOT} for unit, knows in ALLOWED.items() if unit not in (ROOT, "cli")}
    while left:
        free = {unit for unit, knows in left.items() if not knows & set(left)}
        assert free, f"a circle among {sorted(left)}"
        left = {unit: knows for unit, knows in left.items() if unit not in free}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == ROOT else parts)


def imported_modules(tree: ast.AST, modules: set[str]) -> set[str]:
    """Those of `modules` that the code imports, at its top or within a function; what only the type checker reads is left out."""
    for_types = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for part in ast.walk(statement)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in for_types:
            for _, module, name in imports(node):
                within = f"{module}.{name}"
                found.add(within if within in modules else module)
    return found & modules


def in_circles(knows: dict[str, set[str]]) -> set[str]:
    """All that is in a circle, or lies between two."""
    left = {module: set(known) for module, known in knows.items()}
    while True:
        known = set().union(*left.values())
        within = {module: others & set(left) for module, others in left.items() if module in known}
        within = {module: others for module, others in within.items() if others}
        if within == left:
            return set(left)
        left = within


def test_modules_import_one_another_in_no_circle() -> None:
    """An import within a function hides a circle from Python, not from who reads the files."""
    files = {module_of(path): path for path in SOURCES}
    knows = {
        module: imported_modules(ast.parse(path.read_text(encoding="utf-8")), set(files)) - {module}
        for module, path in files.items()
    }
    assert in_circles(knows) == set()


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "data").rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_rooms_of_data_know_one_another_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE / "data").parts[0]
    found = {
        place
        for _, module, name in imports(ast.parse(path.read_text(encoding="utf-8")))
        if f"{module}.".startswith("ngptlab.data.")
        for place in [f"{module}.{name}".split(".")[2]]
    }
    may = DATA_ROOMS.get(room, set())
    assert {place for place in found if place != room} <= may | {f"{place}.py" for place in may}


@by_file
def test_no_code_from_data(path: Path) -> None:
    may = path.relative_to(PACKAGE).as_posix() in READ_TENSORS
    assert forbidden(ast.parse(path.read_text(encoding="utf-8")), may_read_tensors=may) == []


def prints(tree: ast.AST) -> list[str]:
    """Ways to a terminal around terminal.py and console.py."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in ("print", "sys.stdout.write", "sys.stderr.write", "rich.print"):
                found.append(f"line {node.lineno}: {called}; use ngptlab.terminal")
    for line, module, name in imports(tree):
        if (module == "rich.console" and name == "Console") or f"{module}.{name}" == "rich.print":
            found.append(f"line {line}: rich's Console; use that of ngptlab.console")
    return found


@by_file
def test_text_reaches_the_terminal_in_one_way(path: Path) -> None:
    """What is written may be a stranger's, and the stream's encoding may lack it."""
    if path.name not in ("terminal.py", "console.py"):
        assert prints(ast.parse(path.read_text(encoding="utf-8"))) == []


REDRAWN = {"jobs/board.py", "watch/table.py"}
"""Tables that are redrawn in place, so that a row is a line; tests/cli/test_listing.py has them at several widths."""


@by_file
def test_tables_are_listings(path: Path) -> None:
    """A table of rich's cuts a number where a terminal is narrow."""
    found = [
        line
        for line, module, _ in imports(ast.parse(path.read_text(encoding="utf-8")))
        if module == "rich.table"
    ]
    may = path.name == "listing.py" or path.relative_to(PACKAGE).as_posix() in REDRAWN
    assert may or found == [], "use ngptlab.listing"


@by_file
def test_files_are_read_through_disk(path: Path) -> None:
    """Regular files only, and of a bounded size."""
    may = READS.get(path.relative_to(PACKAGE).as_posix(), {})
    found = raw_reads(ast.parse(path.read_text(encoding="utf-8")))
    assert [call for call in found if call.partition(": ")[2] not in may] == [], "use disk.py"
    assert set(may) <= {call.partition(": ")[2] for call in found}, "an exception that nothing needs"


@by_file
def test_files_are_written_through_disk(path: Path) -> None:
    if path.relative_to(PACKAGE).as_posix() not in WRITE_THEMSELVES:
        assert own_writes(ast.parse(path.read_text(encoding="utf-8"))) == []


@by_file
def test_files_are_named_locked_and_put_on_disk_in_one_place(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    found = own_names_and_locks(ast.parse(path.read_text(encoding="utf-8")))
    if name not in PUT_ON_DISK:
        assert found == []


@by_file
def test_size_and_name(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines; divide it by what its halves know"
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}, "name it by what it does"


@by_file
def test_functions_are_short(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(f.name, (f.end_lineno or f.lineno) - f.lineno + 1) for f in functions]
    assert [(name, length) for name, length in lengths if length > MAX_FUNCTION_LINES] == []


def test_no_method_is_named_outside_its_file_and_the_recipes() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*")):
        relative = path.relative_to(PACKAGE)
        if (
            not path.is_file()
            or "__pycache__" in relative.parts
            or relative.parts[0] in ("methods", "recipes")
        ):
            continue
        found += [(str(relative), line) for line in mentions(path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "module",
    [
        "config",
        "flops",
        "sizes",
        "learned",
        "overrides",
        "runs",
        "recipes",
        "recipes.demo",
        "report.page",
        "stats.transfer",
        "draw.panels",
        "data.corpus",
        "data.batches",
        "watch.watch",
        "tracking.tracker_process",
        "cli",
    ],
)
def test_the_list_of_modules_without_torch_is_complete(module: str) -> None:
    assert module.split(".")[0] in NO_TORCH


def test_torch_is_imported_late() -> None:
    code = (
        "import sys, ngptlab.config, ngptlab.overrides, ngptlab.runs, ngptlab.recipes.demo, ngptlab.report.page\n"
        "import ngptlab.data.corpus, ngptlab.data.batches, ngptlab.cli, ngptlab.studies.sweep.plan, ngptlab.studies.sweep.table\n"
        "import ngptlab.studies.sweep.figure, ngptlab.studies.ladder.files, ngptlab.measure.spectra.show\n"
        "import ngptlab.measure.scales.show, ngptlab.measure.activations.show, ngptlab.watch.watch\n"
        "import ngptlab.tracking.tracker_process\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, timeout=120)
    assert done.returncode == 0, "torch was imported"


def test_only_what_trains_or_measures_brings_torch() -> None:
    """Of every study and evaluation, found as the command line, the page and the claims find them."""
    code = (
        "import sys\n"
        "from ngptlab.discover import modules\n"
        "for name in ('verb', 'numbers', 'figure', 'files', 'page', 'show', 'evidence'):\n"
        "    for package in ('ngptlab.studies', 'ngptlab.measure'):\n"
        "        for module in modules(package, name).values():\n"
        "            assert 'torch' not in sys.modules, f'{module.__name__} or one before it brings torch'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()


# --- the checks are checked -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "code"),
    [
        ("train", "from ngptlab.methods import load"),
        ("train", "from ngptlab import methods"),
        ("train", "from ngptlab import build_model"),
        ("train", "import ngptlab.recipes.demo"),
        ("train", "def f():\n    from ngptlab.measure.val.measure import losses"),
        ("nn", "from ngptlab.optim import groups"),
        ("data", "import torch"),
        ("report", "def f():\n    import torch.nn"),
        ("report", "from ngptlab.experiment import train"),
        ("stats", "import torch"),
        ("stats", "from ngptlab.methods import names"),
        ("jobs", "from ngptlab.report import page"),
        ("cli", "from torch import nn"),
        ("config", "from ngptlab import runs"),
        ("optim", "import ngptlab.novelty"),
        ("measure", "import importlib"),
        ("studies", "from matplotlib.figure import Figure"),
    ],
)
def test_wrong_imports_are_found(unit: str, code: str) -> None:
    assert len(wrong_imports(unit, ast.parse(code))) == 1


def test_circles_are_found() -> None:
    knows = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a"}}
    assert in_circles(knows) == {"b", "c"} and in_circles(knows | {"c": {"d"}}) == set()


def test_imports_of_modules_are_found() -> None:
    code = (
        "if TYPE_CHECKING:\n    import p.a\nfrom p import b\ndef f():\n    from p.c import name\n    import q"
    )
    assert imported_modules(ast.parse(code), {"p", "p.a", "p.b", "p.c"}) == {"p.b", "p.c"}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "torch.load(path)",
        "from torch import load",
        "yaml.load(text, Loader=Loader)",
        "eval(text)",
        "exec(text)",
        "np.load(path, allow_pickle=True)",
        "os.system(name)",
        "subprocess.run(name, shell=True)",
        "tarfile.open(path).extractall(folder)",
        "compile(text, name, 'exec')",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
    ],
)
def test_forbidden_calls_are_found(code: str) -> None:
    assert len(forbidden(ast.parse(code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "path.write_text(text)",
        "(out / name).write_bytes(content)",
        "path.touch()",
        "path.open('wb')",
        "open(path, 'a')",
        "path.open(mode='r+b')",
        "open(path, mode='x')",
        "shutil.copyfile(a, b)",
        "tempfile.mkdtemp()",
    ],
)
def test_own_writes_are_found(code: str) -> None:
    assert len(own_writes(ast.parse(code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "disk.write_text(p, t)",
        "write_json(p, v)",
        "path.open('rb')",
        "open(path)",
        "shutil.copyfileobj(a, b)",
    ],
)
def test_other_writes_are_not(code: str) -> None:
    assert own_writes(ast.parse(code)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import fcntl",
        "from fcntl import flock",
        "os.fsync(file.fileno())",
        "os.replace(a, b)",
        "temporary.rename(path)",
        "temporary.replace(folder / name)",
    ],
)
def test_own_names_and_locks_are_found(code: str) -> None:
    assert len(own_names_and_locks(ast.parse(code))) == 1


@pytest.mark.parametrize("code", ["text.replace('a', 'b')", "replace(recipe, tuned={})", "disk.sync(file)"])
def test_other_calls_are_none(code: str) -> None:
    assert own_names_and_locks(ast.parse(code)) == []


def test_tensors_are_read_in_one_way_only() -> None:
    safe = ast.parse("torch.load(path, map_location='cpu', weights_only=True)")
    assert forbidden(safe, may_read_tensors=True) == [] and len(forbidden(safe)) == 1
    for code in (
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
    ):
        assert len(forbidden(ast.parse(code), may_read_tensors=True)) == 1


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "self.evaluate()",
        "re.compile(x)",
        "yaml.safe_load(x)",
        "np.load(x, allow_pickle=False)",
    ],
)
def test_innocent_calls_are_not(code: str) -> None:
    assert forbidden(ast.parse(code)) == []


def test_mentions_are_whole_words() -> None:
    assert mentions('if method == "ngpt":') and mentions("# gpt only") and mentions("--method qk-norm")
    assert not mentions("import ngptlab") and not mentions('"gpt2"') and not mentions("nGPT and GPT in prose")
    assert not mentions("ngptlab train")


@pytest.mark.parametrize(
    "code",
    [
        "path.read_text()",
        "Path(name).read_bytes()",
        "open(path)",
        "open(path, 'rb')",
        "path.open()",
        "path.open('rb')",
        "path.open(mode='r+b')",
        "os.open(path, os.O_RDONLY)",
        "load_file(path)",
        "np.load(path, allow_pickle=False)",
        "np.memmap(path)",
        "parquet.ParquetFile(path)",
        "tokenizers.Tokenizer.from_file(path)",
    ],
)
def test_raw_reads_are_found(code: str) -> None:
    assert len(raw_reads(ast.parse(code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        "disk.read_text(path)",
        "disk.open_regular(path)",
        "path.open('wb')",
        "path.open(mode='a')",
        "open(path, 'w')",
        "Run.open(path, config)",
        "load(content)",
    ],
)
def test_other_calls_are_no_raw_reads(code: str) -> None:
    assert raw_reads(ast.parse(code)) == []
