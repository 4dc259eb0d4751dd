"""robopref.toml is checked as a whole, completed with the protocol's numbers, and overruled by the environment."""

import json
import tomllib

import jsonschema
import pytest
from paths import ROOT

from preference.config import Config
from preference.config_file import ENVIRONMENT, load_config
from preference.errors import ConfigError
from robopref.init import SCHEMA_NAME, config_text, write_config


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


def write(tmp_path, text):
    path = tmp_path / "robopref.toml"
    path.write_text(text)
    return path


def test_the_defaults_are_the_protocols_numbers():
    config = Config()
    assert (config.clips.size, config.clips.fps, config.clips.crf) == (480, 15, 23)
    assert (config.pairs.strata.adjacent, config.pairs.strata.same, config.pairs.strata.distant) == (0.4, 0.3, 0.3)
    assert 0.05 <= config.pairs.duplicates <= 0.10
    assert 200 <= config.pairs.batch <= 500
    assert 30 <= config.calibration.pairs <= 50
    assert (config.calibration.min_kappa, config.quality.min_alpha) == (0.65, 0.55)
    assert (config.quality.max_gold_disagreement, config.quality.min_self_consistency) == (0.2, 0.8)
    assert 50 <= config.active.pairs <= 100


DIFFERENT = {
    "clips": ["watermark"],
    "calibration": ["training_pairs", "min_kappa"],
    "quality": ["flags", "min_alpha", "min_majority_agreement", "min_answers"],
    "reward": ["members", "learning_rate", "weight_decay", "slip", "min_preferences"],
    "active": ["strategy", "bootstrap", "plan_next_at", "audit"],
}
"""The settings that differ from the protocol, or for which it has no number."""


def test_settings_that_differ_from_the_protocol_say_so_and_why(tmp_path):
    lines = write_config(tmp_path / "robopref.toml").read_text().splitlines()
    section, marked = "", {}
    for line in lines:
        if line.startswith("["):
            section = line.strip("[]")
        if "iffers from the protocol" in line and not line.startswith("#"):
            marked.setdefault(section, []).append(line.split(" = ")[0])
    assert marked == DIFFERENT
    assert not any("which follows the protocol" in line for line in lines)
    assert (Config().reward.learning_rate, Config().active.strategy) != (1e-4, "closest")


def test_what_init_writes_is_valid_and_changes_no_default(tmp_path):
    dataset = tmp_path / "data"
    dataset.mkdir()
    loaded = load_config(write_config(tmp_path / "robopref.toml", f'[[pool.dataset]]\npath = "{dataset}"\n'))
    expected = Config()
    for section in ("clips", "pairs", "calibration", "quality", "reward", "active", "service", "release"):
        assert getattr(loaded, section) == getattr(expected, section)
    assert loaded.pool.dataset[0].path == dataset


def test_init_explains_each_setting_that_needs_it():
    text = config_text()
    assert "# Pairs in a batch; the protocol says 200-500. The first batch has" in text
    assert "secret" not in text.split("\n")[4]


def test_the_written_settings_name_every_field_and_keep_lists_of_tables():
    def leaves(value, prefix=()):
        if not isinstance(value, dict):
            return {prefix}
        return set().union(*(leaves(inner, (*prefix, name)) for name, inner in value.items()))

    given = Config.model_validate({"annotators": {"simulated": [{"id": "ann", "teacher": "noisy"}]}})
    read = tomllib.loads(config_text("[[pool.dataset]]\n", given))
    assert leaves(read) >= leaves(given.model_dump(exclude={"file"}))
    assert read["annotators"]["simulated"] == [{"id": "ann", "teacher": "noisy"}]


def test_a_byte_order_mark_is_no_part_of_the_settings(tmp_path):
    path = tmp_path / "robopref.toml"
    path.write_text('name = "mine"', encoding="utf-8-sig")
    assert load_config(path).name == "mine"


def test_init_never_overwrites(tmp_path):
    path = write(tmp_path, "name = 'mine'")
    with pytest.raises(ConfigError, match="already exists"):
        write_config(path)
    assert path.read_text() == "name = 'mine'"


def test_every_wrong_field_is_named_with_what_was_found(tmp_path):
    path = write(tmp_path, "seed = 'x'\n[clips]\nfps = 0\ncolour = 'red'\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    for part in (str(path), "seed", "'x'", "clips.fps", "clips.colour"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[pairs]\nbacth = 1", "pairs.bacth: no such setting, did you mean batch?"),
        ("sede = 1", "sede: no such setting, did you mean seed?"),
        ("[[pool.dataset]]\npath = 'd'\ncolumns = { cammera = 'top' }", "did you mean camera?"),
        ("[clips]\ncolour = 'red'", "no such setting; known here: size, fps, crf"),
    ],
)
def test_a_misspelt_setting_is_told_its_name(tmp_path, text, said):
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quality.min_alpha = 7.5", "quality.min_alpha: found 7.5, expected a number from -1 to 1"),
        ("calibration.min_kappa = -2", "calibration.min_kappa: found -2, expected a number from -1 to 1"),
        ("quality.min_response_s = -3", "quality.min_response_s: found -3, expected a number of at least 0"),
        ("pairs.duplicates = 1.5", "pairs.duplicates: found 1.5, expected a number from 0 to 1"),
        ("reward.members = 0", "reward.members: found 0, expected a whole number of at least 1"),
        ("reward.slip = 0.5", "reward.slip: found 0.5, expected a number of at least 0 and below 0.5"),
        ("reward.learning_rate = 0", "reward.learning_rate: found 0, expected a number above 0"),
        ("reward.learning_rate = inf", "reward.learning_rate: found inf, expected a number above 0"),
        ("reward.inputs = []", "reward.inputs: found [], expected a list that is not empty"),
        ("reward.inputs = ['sound']", "reward.inputs[0]: found 'sound', expected one of frames, actions, state"),
        ("clips.size = 65", "clips.size: found 65, expected a whole number of at least 64 and divisible by 2"),
        ("clips.fps = 'fast'", "clips.fps: found 'fast', expected a whole number from 1 to 60"),
        ("active.within_sd = -1", "active.within_sd: found -1, expected a number above 0"),
        ("seed = 1.5", "seed: found 1.5, expected a whole number of at least 0"),
        ("name = 3", "name: found 3, expected text in quotes"),
        ("release.pseudonyms = 'perhaps'", "release.pseudonyms: found 'perhaps', expected true or false"),
        ("release.units = { x = 1 }", "release.units.x: found 1, expected text in quotes"),
        ("executor = 'dask'", "executor: found 'dask', expected one of processes, ray"),
        ("[[pool.dataset]]\nname = 'd'", "pool.dataset[0].path: expected text in quotes"),
        ("[[pool.dataset]]\npath = 'd'\nsuccess = 'maybe'", "pool.dataset[0].success: found 'maybe', expected true"),
        ("pool = 'here'", "pool: found 'here', expected a table"),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_right(tmp_path, text, said):
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: {said}")


@pytest.mark.parametrize(
    "text",
    [
        "[label_studio]\ntoken = 12345678",
        "[label_studio.s3]\naccess_key = 12345678",
        "[label_studio]\ntoken = '12345678'\nguidelines = 'our wiki'",
        "[service]\npassword = [12345678]",
    ],
)
def test_a_wrong_secret_is_not_shown(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    assert "12345678" not in str(caught.value)


def test_a_value_in_place_of_a_table_is_a_clear_message_even_where_the_environment_fills_that_table(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ROBOPREF_SERVICE_URL", "http://backend:9090")
    with pytest.raises(ConfigError, match=r"service: .*found 3"):
        load_config(write(tmp_path, "service = 3"))


def test_editors_get_a_schema_that_takes_what_we_take_and_describes_every_setting(tmp_path):
    schema = json.loads((write_config(tmp_path / "robopref.toml").parent / SCHEMA_NAME).read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for text in (config_text(), (ROOT / "examples" / "robopref.toml").read_text()):
        assert text.startswith("#:schema ")
        assert list(validator.iter_errors(tomllib.loads(text))) == []
    (error,) = validator.iter_errors(tomllib.loads("[pairs]\nbacth = 1"))
    assert "bacth" in error.message
    assert schema["$defs"]["Pairs"]["properties"]["batch"]["description"].startswith("Pairs in a batch")


def test_secrets_do_not_print(tmp_path):
    assert "hunter2" not in repr(load_config(write(tmp_path, "[label_studio]\ntoken = 'hunter2'\n")))


@pytest.mark.parametrize("secret", ["größer", "鍵", " padded", "two\tcolumns"])
def test_a_secret_that_http_cannot_carry_is_refused_by_name_and_not_shown(tmp_path, monkeypatch, secret):
    (tmp_path / "robopref.toml").write_text("")
    for variable, keys in ENVIRONMENT.items():
        if keys[-1] not in ("token", "password", "webhook_secret", "console_secret"):
            continue
        monkeypatch.setenv(variable, "p@:/%#ss \"'\\")
        load_config(tmp_path / "robopref.toml")
        monkeypatch.setenv(variable, secret)
        with pytest.raises(ConfigError, match=rf"{'.'.join(keys)} \(from {variable}\): expected .* ASCII") as refused:
            load_config(tmp_path / "robopref.toml")
        assert secret.strip() not in str(refused.value)
        monkeypatch.delenv(variable)


def test_a_wrong_value_from_the_environment_names_its_variable(tmp_path, monkeypatch):
    (tmp_path / "robopref.toml").write_text("")
    monkeypatch.setenv("ROBOPREF_LOGS", "xml")
    with pytest.raises(ConfigError, match=r"logs \(from ROBOPREF_LOGS\): found 'xml', expected one of"):
        load_config(tmp_path / "robopref.toml")


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    path = write(tmp_path, "[label_studio]\nurl = 'http://file'\n")
    monkeypatch.setenv("ROBOPREF_LABEL_STUDIO_URL", "http://environment")
    monkeypatch.setenv("ROBOPREF_WEBHOOK_SECRET", "s")
    config = load_config(path)
    assert config.label_studio.url == "http://environment"
    assert config.service.webhook_secret.get_secret_value() == "s"


def test_relative_paths_start_at_the_file(tmp_path):
    config = load_config(write(tmp_path, "[[pool.dataset]]\npath = 'd'\n"))
    assert config.work == tmp_path / "work"
    assert config.pool.dataset[0].path == tmp_path / "d"
    assert config.pool.dataset[0].name == "d"


def test_two_datasets_of_one_name_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="used twice"):
        load_config(write(tmp_path, "[[pool.dataset]]\npath = 'x/d'\n[[pool.dataset]]\npath = 'y/d'\n"))


@pytest.mark.parametrize("text", ["name = ", "\x00"])
def test_a_broken_file_is_one_clear_message(tmp_path, text):
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(write(tmp_path, text))


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(ConfigError, match="robopref init"):
        load_config(tmp_path / "nowhere.toml")


def test_the_example_project_is_valid_and_names_the_sample_pool():
    folder = ROOT / "examples"
    config = load_config(folder / "robopref.toml")
    (dataset,) = config.pool.dataset
    assert (dataset.path / "meta" / "info.json").exists() and dataset.name == "sample"
    assert config.work == folder / "work"


def test_the_guidelines_are_an_address(tmp_path):
    with pytest.raises(ConfigError, match=r"guidelines.*expected an address"):
        load_config(write(tmp_path, '[label_studio]\nguidelines = "our wiki"\n'))
    text = '[label_studio]\nguidelines = "https://example.org/guide"\n'
    assert load_config(write(tmp_path, text)).label_studio.guidelines == "https://example.org/guide"


def test_a_folder_in_place_of_the_file_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
