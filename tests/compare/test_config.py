import json

import pytest

from mechdecouple.compare import CompareConfig, make_config, read_config
from mechdecouple.errors import InputError


def test_the_same_options_from_toml_yaml_and_json(tmp_path):
    (tmp_path / "c.toml").write_text(
        'margin = 0.05\nseed = 3\nfamilies = ["structure"]\n[columns]\nprompt = "statement"\n'
    )
    (tmp_path / "c.yaml").write_text("margin: 0.05\nseed: 3\nfamilies: [structure]\ncolumns:\n  prompt: statement\n")
    options = {"margin": 0.05, "seed": 3, "families": ["structure"], "columns": {"prompt": "statement"}}
    (tmp_path / "c.json").write_text(json.dumps(options))
    configs = [make_config(read_config(tmp_path / f"c.{kind}")) for kind in ("toml", "yaml", "json")]
    assert configs[0] == configs[1] == configs[2]
    assert configs[0].margin == 0.05
    assert configs[0].columns == {"prompt": "statement"}


def test_a_config_cannot_be_changed():
    with pytest.raises(Exception, match="frozen"):
        CompareConfig().margin = 0.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"margn": 0.1}, "did you mean 'margin'"),
        ({"nonsense_entirely": 1}, "known options"),
        ({"margin": -1}, "margin = -1"),
        ({"margin": "wide"}, "margin = 'wide'"),
        ({"device": "gpu"}, "device = 'gpu'"),
        ({"families": ["structure", "x"]}, "families.1 = 'x'"),
        ({"seed": -2}, "seed = -2"),
        ({"alpha": 0.9}, "alpha = 0.9"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, said):
    with pytest.raises(InputError) as caught:
        make_config(options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.ini", "a=1", "use .toml, .yaml or .json"),
        ("c.toml", "margin = = 2", "does not parse"),
        ("c.yaml", "a: [1,", "does not parse"),
        ("c.json", "[1, 2]", "holds a list"),
    ],
)
def test_bad_config_files_are_refused_in_one_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_config(tmp_path / name)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_config_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_config(tmp_path / "none.toml")


def test_every_option_says_what_it_does():
    assert all(field.description for field in CompareConfig.model_fields.values())
