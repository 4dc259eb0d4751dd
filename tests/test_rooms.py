"""The house: no import goes in a circle, ml_backend stays small, and each adapter is one file."""

import ast
import functools
import re
import tomllib
from graphlib import CycleError, TopologicalSorter

import pytest
from paths import MAKERS, ROOT

ROOMS = ("preference", "labeling_config", "importer", "qc_reports", "ml_backend", "release", "robopref")


@functools.cache
def parsed(path):
    return ast.parse(path.read_text())


@functools.cache
def nodes(path):
    return list(ast.walk(parsed(path)))


@functools.cache
def imports_of(path):
    """The packages that a file imports."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def modules():
    """Dotted name → file, of every module of ours; templates of files that a release writes are none."""
    files = (path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return {
        ".".join(path.with_suffix("").parts).removesuffix(".__init__"): path
        for path in files
        if "templates" not in path.parts
    }


def imports_of_ours(path, known):
    """Modules of ours that a file imports, wherever the statement stands: in functions and for types only as well."""
    for node in nodes(ROOT / path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            for alias in node.names:
                yield from [name for name in (f"{node.module}.{alias.name}", node.module) if name in known][:1]


def circle(graph):
    """The first one found, or none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return " imports ".join(reversed(error.args[1]))
    return None


def test_no_import_goes_in_a_circle():
    known = modules()
    graph = {name: set(imports_of_ours(path, known)) - {name} for name, path in known.items()}
    assert sum(map(len, graph.values())) > 500, "the imports were found"
    assert circle(graph) is None


@pytest.mark.parametrize("room", ["ml_backend", "importer", "qc_reports"])
def test_no_folder_of_a_room_needs_one_that_needs_it(room):
    """A folder is one node, and so is each file that stands beside the folders."""
    known = modules()

    def part(name):
        return ".".join(name.split(".")[:2])

    graph = {}
    for name, path in known.items():
        if name.startswith(f"{room}."):
            needed = {part(other) for other in imports_of_ours(path, known) if other.startswith(f"{room}.")}
            graph[part(name)] = graph.get(part(name), set()) | needed - {part(name)}
    assert any(graph.values())
    assert circle(graph) is None


def test_circle_finds_one():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) is not None
    assert circle({"a": {"b", "c"}, "b": {"c"}}) is None


def test_ml_backend_stays_small():
    """Room by room a newcomer looks through it; each `__init__.py` counts."""
    files = [path for path in modules().values() if path.parts[0] == "ml_backend"]
    assert len(files) <= 45
    assert len({path.parent for path in files}) <= 6


def importers(library):
    files = (path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return sorted(str(path.relative_to(ROOT)) for path in files if library in imports_of(path))


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("label_studio_sdk", ["importer/studio/client.py"]),
        ("ffmpeg", ["importer/clips/render.py"]),
        (
            "flask",
            [
                "ml_backend/service/app.py",
                "robopref/console/routes.py",
                "robopref/join.py",
                "robopref/service.py",
            ],
        ),
        ("boto3", ["preference/bucket.py"]),
        ("h5py", ["importer/pool/hdf5.py"]),
        ("mcap", ["importer/pool/mcap_file.py"]),
    ],
)
def test_an_adapter_is_one_file(library, places):
    assert importers(library) == places


def test_only_the_store_knows_sqlalchemy():
    assert [path for path in importers("sqlalchemy") if not path.startswith("preference/store/")] == []


def test_environment_variables_are_read_in_one_place():
    """The child processes' own environment is passed on elsewhere, but settings are read in config.py alone."""
    readers = []
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            text = path.read_text()
            if "os.environ.get" in text or "os.getenv" in text:
                readers.append(str(path.relative_to(ROOT)))
    on_their_own = "labeling_config/plugin/"  # runs without the rest of Robopref
    assert [path for path in readers if not path.startswith(on_their_own)] == ["preference/config_file.py"]


def calls(path, name):
    """Calls of `torch.load`, say, with their keyword arguments."""
    for node in nodes(path):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(name):
            yield {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}


def test_no_file_is_loaded_in_a_way_that_could_run_code_from_it():
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    loads = [
        given for path in files for name in ("torch.load", "models.load_state_dict") for given in calls(path, name)
    ]
    assert loads and all(given.get("weights_only") == "True" for given in loads)
    assert all(given.get("allow_pickle", "False") == "False" for path in files for given in calls(path, "np.load"))
    assert not {"pickle", "joblib", "dill", "cloudpickle"} & {
        library for path in files if path.name != "checkpoint.py" for library in imports_of(path)
    }


def test_there_is_no_assert_on_input_in_the_rooms():
    found = []
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            found += [f"{path.name}:{node.lineno}" for node in nodes(path) if isinstance(node, ast.Assert)]
    assert found == []


def test_no_test_file_imports_another():
    """What several of them need is a fixture in conftest.py or a function in tests/makers, on pytest's path."""
    files = sorted((ROOT / "tests").rglob("*.py"))
    others = {path.stem for path in files if path.parent != MAKERS} | {"tests"}
    assert [path.name for path in files if others & imports_of(path)] == []
    assert [
        path.name for path in files for statement in parsed(path).body if ast.unparse(statement).startswith("sys.path")
    ] == []


def test_what_is_installed_for_development_alone_is_imported_nowhere():
    """A user's installation does not have it, and the tests' does."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = dict(project["optional-dependencies"])
    own = {distribution(line) for line in extras.pop("dev")}
    own -= {distribution(line) for lines in [project["dependencies"], *extras.values()] for line in lines}
    found = {name: importers(name) for name in sorted(own | {"sklearn", "yaml"}) if importers(name)}
    assert found == {}


def distribution(requirement):
    return re.split(r"[\[<>=~! ]", requirement)[0].replace("-", "_")
