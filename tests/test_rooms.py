"""Each adapter is one file: whoever looks for how we talk to a library finds one place."""

import ast

import pytest
from paths import MAKERS, ROOT

ROOMS = ("preference", "labeling_config", "importer", "qc_reports", "ml_backend", "robopref")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def importers(library):
    files = (path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return sorted(str(path.relative_to(ROOT)) for path in files if library in imports_of(path))


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("label_studio_sdk", ["importer/studio/client.py"]),
        ("ffmpeg", ["importer/clips/render.py"]),
        ("flask", ["ml_backend/service/app.py"]),
        ("boto3", ["importer/clips/s3.py"]),
        ("h5py", ["importer/pool/hdf5.py"]),
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
    on_their_own = ("labeling_config/plugin/", "ml_backend/label_studio_ml/")  # run without the rest of Robopref
    assert [path for path in readers if not path.startswith(on_their_own)] == ["preference/config.py"]


def calls(path, name):
    """Calls of `torch.load`, say, with their keyword arguments."""
    for node in ast.walk(ast.parse(path.read_text())):
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
            tree = ast.walk(ast.parse(path.read_text()))
            found += [f"{path.name}:{node.lineno}" for node in tree if isinstance(node, ast.Assert)]
    assert found == []


def test_no_test_file_imports_another():
    """What several of them need is a fixture in conftest.py or a function in tests/makers, on pytest's path."""
    files = sorted((ROOT / "tests").rglob("*.py"))
    others = {path.stem for path in files if path.parent != MAKERS} | {"tests"}
    assert [path.name for path in files if others & set(imports_of(path))] == []
    assert [
        path.name
        for path in files
        for statement in ast.parse(path.read_text()).body
        if ast.unparse(statement).startswith("sys.path")
    ] == []
