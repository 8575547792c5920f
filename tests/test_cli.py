"""The command line as a user meets it: bad input in one line and without a trace, and what it does when all is well."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import mechdecouple
from mechdecouple.activations import store
from mechdecouple.cli import main
from mechdecouple.cli.answer import Answer
from mechdecouple.compare import Comparison, make_config
from mechdecouple.models import build

QUICK = ("--families", "similarity", "--permutations", "19", "--blocks", "5", "--probe-items", "32")
FACTORIES = """
import torch

def mlp():
    return torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))

def number():
    return 7
"""


class Bench:
    """A working directory with two models and a task, and ways to break each."""

    def __init__(self, folder: Path, a: Path, b: Path, items: pd.DataFrame, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.a, self.b, self.items, self.patch = folder, a, b, items, patch
        self.out = folder / "out"

    def compare(self, *more: object, a: object = None, b: object = None, task: object = None) -> list[str]:
        places = [a or self.a, b or self.b, "--task", task or self.table(), "--out", self.out]
        return ["compare", *map(str, places), "--quiet", *map(str, more)]

    def table(self, drop: str | None = None, **columns: object) -> Path:
        """The task as CSV, with columns replaced: by a value in every row, or by {row: value}."""
        items = self.items.copy()
        for name, values in columns.items():
            if isinstance(values, dict):
                for row, value in values.items():
                    items.loc[row, name] = value
            else:
                items[name] = values
        return self.text("task.csv", items.drop(columns=drop or []).to_csv(index=False))

    def text(self, name: str, content: str) -> Path:
        (self.folder / name).write_text(content, encoding="utf-8")
        return self.folder / name

    def copy(self) -> Path:
        """Model A in a directory of its own."""
        return Path(shutil.copytree(self.a, self.folder / "copy"))

    def weights(self, edit) -> Path:
        target = self.copy()
        state = load_file(target / "model.safetensors")
        save_file(edit(state), target / "model.safetensors", metadata={"format": "pt"})
        return target

    def hooked(self, d_vocab: int = 34, config: bool = True) -> Path:
        """A TransformerLens state dict, with or without the config beside it."""
        fields = {
            "n_layers": 1, "d_model": 8, "d_head": 4, "n_heads": 2, "d_vocab": d_vocab, "n_ctx": 16, "act_fn": "relu",
            "normalization_type": None,
        }  # fmt: skip
        folder = self.folder / "hooked"
        folder.mkdir()
        torch.save(build(fields).state_dict(), folder / "model.pt")
        if config:
            (folder / "config.json").write_text(json.dumps(fields))
        return folder / "model.pt"

    def factory(self, name: str) -> str:
        self.text("tiny_factories.py", FACTORIES)
        self.patch.syspath_prepend(str(self.folder))
        return f"tiny_factories:{name}"


@pytest.fixture
def bench(tmp_path, gpt2_dir, llama_dir, yes_no_items, monkeypatch):
    return Bench(tmp_path, gpt2_dir, llama_dir, yes_no_items, monkeypatch)


def contents(folder: Path) -> dict[str, str]:
    """Every path under a directory, with the checksum of each file; empty where there is none. Python's own cache of
    an imported factory does not count."""
    if folder.is_file():
        return {".": hashlib.sha256(folder.read_bytes()).hexdigest()}
    files = {p: hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "" for p in folder.rglob("*")}
    return {str(p.relative_to(folder)): digest for p, digest in files.items() if "__pycache__" not in p.parts}


CASES: dict[str, tuple] = {}


def bad(*said: str):
    """Registers a kind of bad input: makes the arguments; ``said`` are the offending value and the mend, as printed."""

    def register(make):
        CASES[make.__name__] = (make, said)
        return make

    return register


# -- tasks ------------------------------------------------------------------------------------------------------------


@bad("nowhere.csv", "no such file", "give the path")
def missing_task(bench):
    return bench.compare(task=bench.folder / "nowhere.csv")


@bad("task.xlsx", "'.xlsx'", "convert it")
def task_of_unknown_ending(bench):
    return bench.compare(task=bench.text("task.xlsx", "id,prompt"))


@bad("empty.csv", "the first line must name the columns")
def empty_task(bench):
    return bench.compare(task=bench.text("empty.csv", ""))


@bad("head", "no rows", "give at least one item")
def task_with_header_only(bench):
    return bench.compare(task=bench.text("head.csv", "id,prompt,choices,answer\n"))


@bad("column prompt is missing", "did you mean 'prompt'", "promt")
def wrong_column(bench):
    return bench.compare(task=bench.text("wrong.csv", "id,promt\n1,w1 w2\n"))


@bad("row 4", "'i0'", "must be unique")
def duplicate_ids(bench):
    return bench.compare(task=bench.table(id={3: "i0"}))


@bad("row 3", "column id", "fill it or drop the row")
def empty_id(bench):
    return bench.compare(task=bench.table(id={2: ""}))


@bad("row 6", "column prompt", "write the text")
def empty_prompt(bench):
    return bench.compare(task=bench.table(prompt={5: ""}))


@bad("row 2", "'maybe'", "make it one of them")
def answer_not_among_choices(bench):
    return bench.compare(task=bench.table(answer={1: "maybe"}))


@bad("row 1", "at least 2 options", "separate them by |")
def one_choice(bench):
    return bench.compare(task=bench.table(choices="yes", answer="yes"))


@bad("row 1", "'2'", "code true as 1")
def truth_not_binary(bench):
    return bench.compare(task=bench.table(truth={0: "2"}))


@bad("ragged.csv", "row 2", "double quotes")
def ragged_csv(bench):
    return bench.compare(task=bench.text("ragged.csv", "id,prompt\n1,w1\n2,w2,w3\n"))


@bad("condition", "'plain'", "honest")
def condition_without_honest_level(bench):
    return bench.compare(task=bench.table(condition={i: "plain" if i % 2 else "pressed" for i in range(60)}))


@bad("in 1 group to compare", "leave out the column group")
def items_all_of_one_group(bench):
    return bench.compare(task=bench.table(group="g"))


@bad("1 of 1 items", "add items")
def one_item(bench):
    return bench.compare(task=bench.text("one.csv", "id,prompt,choices,answer\n1,w1 w2,yes|no,no\n"))


@bad("0 of 60 items", "honest condition, split test or none")
def every_item_of_the_shift_split(bench):
    return bench.compare(task=bench.table(split="shift"))


@bad("'plian'", "plain")
def unknown_honest_level(bench):
    table = bench.table(condition={i: "plain" if i % 2 else "pressed" for i in range(60)})
    return bench.compare("--honest", "plian", task=table)


@bad("'i7'", "40 tokens", "shorten the prompt")
def over_long_prompt(bench):
    return bench.compare(task=bench.table(prompt={7: "w1 " * 40}))


@bad("'i2'", "knows no word", "vocabulary")
def prompt_of_unknown_words(bench):
    return bench.compare(task=bench.table(prompt={2: "quite unheard of"}))


@bad("'perhaps'", "not in the vocabulary", "choose words")
def option_outside_the_vocabulary(bench):
    return bench.compare(task=bench.table(choices="yes|perhaps", answer="yes"))


@bad("row 1", "twice", "distinct")
def same_option_twice(bench):
    return bench.compare(task=bench.table(choices="yes|yes", answer="yes"))


@bad("token id 33", "belong to another model")
def tokens_of_another_tokenizer(bench):
    table = bench.text("tokens.csv", "id,tokens,choices,answer\n1,4 33 5,2|3,2\n2,4 5 6,2|3,3\n")
    return bench.compare(b=bench.hooked(d_vocab=20), task=table)


@bad("inputs.npy", "no such file", "give the path of an array")
def missing_inputs(bench):
    return bench.compare("--inputs", bench.folder / "inputs.npy")


@bad("2 rows", "3", "same items")
def inputs_of_another_length(bench):
    import numpy as np

    np.save(bench.folder / "x.npy", np.zeros((2, 3), np.float32))
    table = bench.text("c.csv", "id,answer\n1,0\n2,1\n3,0\n")
    mlp = bench.factory("mlp")
    return bench.compare("--inputs", bench.folder / "x.npy", a=mlp, b=mlp, task=table)


@bad("'statement'", "the table has id, prompt")
def columns_that_are_not_there(bench):
    return bench.compare("--columns", "prompt=statement")


@bad("'prompt:statement'", "canonical=yours")
def columns_malformed(bench):
    return bench.compare("--columns", "prompt:statement")


@bad("has no field", "put {prompt}")
def template_without_field(bench):
    return bench.compare("--template", "Answer yes or no.")


@bad("honest = 'plain'", "zoo:honest", "leave it out")
def option_for_a_table_with_a_task_of_the_zoo(bench):
    return bench.compare("--honest", "plain", task="zoo:honest")


# -- models -----------------------------------------------------------------------------------------------------------


@bad("no B given", "name a second model")
def no_second_model(bench):
    return ["compare", str(bench.a), "--task", "t.csv", "--out", str(bench.out)]


@bad("nothing/here", "no such file or directory")
def missing_model(bench):
    return bench.compare(b=f"{bench.folder}/nothing/here")


@bad("bare", "no config.json", "expected one beside the weights")
def directory_without_config(bench):
    (bench.folder / "bare").mkdir()
    return bench.compare(a=bench.folder / "bare")


@bad("copy", "cannot be loaded")
def corrupt_safetensors(bench):
    target = bench.copy()
    (target / "model.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00not the header")
    return bench.compare(a=target)


@bad("'transformer.wte.weight'", "NaN", "finite weights")
def nan_weights(bench):
    def edit(state):
        state["transformer.wte.weight"][0, 0] = float("nan")
        return state

    return bench.compare(a=bench.weights(edit))


@bad("'h.1.attn.c_attn.weight'", "missing", "incomplete")
def weights_missing(bench):
    return bench.compare(a=bench.weights(lambda s: {k: v for k, v in s.items() if "h.1.attn.c_attn.weight" not in k}))


@bad("model.pt", "no config beside it", "config.json")
def state_dict_without_config(bench):
    return bench.compare(a=bench.hooked(config=False))


class Harmful:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


@bad("model.pt", "not a readable state dict", "torch.save(state_dict)")
def pickle_that_would_run_code(bench):
    path = bench.hooked()
    bench.patch.chdir(bench.folder)
    path.write_bytes(pickle.dumps({"embed.W_E": Harmful()}))
    return bench.compare(a=path)


@bad("'honset'", "did you mean honest")
def unknown_zoo_model(bench):
    return bench.compare(a="zoo:honset")


@bad("'zoo:honest@one'", "whole number", "'one'")
def zoo_seed_that_is_no_number(bench):
    return bench.compare(a="zoo:honest@one")


@bad("tiny_factories:mlq", "cannot be imported")
def factory_that_is_not_there(bench):
    bench.factory("mlp")
    return bench.compare(a="tiny_factories:mlq")


@bad("tiny_factories:number", "int", "expected a torch.nn.Module")
def factory_of_something_else(bench):
    return bench.compare(a=bench.factory("number"))


@bad("takes tokens", "takes array", "same kind of input")
def text_model_against_tensor_model(bench):
    return bench.compare(b=bench.factory("mlp"))


@bad("no chat template", "leave out the chat option")
def chat_without_template(bench):
    return bench.compare("--chat")


@bad("'none'", "plain module")
def fold_into_a_plain_module(bench):
    mlp = bench.factory("mlp")
    return bench.compare("--fold-ln", a=mlp, b=mlp)


@bad("device", "'tpu'")
def unknown_device(bench):
    return bench.compare("--device", "tpu")


# -- options ----------------------------------------------------------------------------------------------------------


@bad("'blocks.7.hook_resid_post'", "did you mean")
def unknown_hook_point_of_a(bench):
    return bench.compare("--hook-points", "blocks.7.hook_resid_post")


@bad("'blocks.0.hook_resid_pst'", "tiny-llama", "did you mean")
def unknown_hook_point_of_b(bench):
    return bench.compare("--hook-points", "blocks.0.hook_resid_post", "--hook-points-b", "blocks.0.hook_resid_pst")


@bad("'first'", "expected last, mean, all")
def unknown_position(bench):
    return bench.compare("--position", "first")


@bad("row 5", "'w99'", "copy the text")
def position_text_not_in_prompt(bench):
    first = {i: prompt.split()[0] for i, prompt in enumerate(bench.items["prompt"])}
    return bench.compare("--position", "position_word", task=bench.table(position_word={**first, 4: "w99"}))


@bad("position", "'all'", "use position 'last'")
def position_all_with_truth(bench):
    return bench.compare("--position", "all")


@bad("'blocks.9.hook_resid_post'", "did you mean")
def unknown_sae_hook_point(bench):
    return bench.compare("--sae-hook-point", "blocks.9.hook_resid_post")


@bad("'blocks.0.hook_attn_out'", "not looked at", "choose one of")
def sae_hook_point_not_looked_at(bench):
    return bench.compare("--sae-hook-point", "blocks.0.hook_attn_out")


@bad("sae_k 9", "sae_width 8", "lower sae_k")
def more_active_latents_than_latents(bench):
    return bench.compare("--sae-width", "8", "--sae-k", "9")


@bad("sae_k 17", "16 values", "lower sae_k")
def more_active_latents_than_values(bench):
    return bench.compare("--sae-k", "17")


@bad("'structur'", "'structure'")
def unknown_family(bench):
    return bench.compare("--families", "structur")


@bad("margin", "'-0.1'", "greater than 0")
def negative_margin(bench):
    return bench.compare("--margin", "-0.1")


@bad("margin", "'nan'", "finite number")
def nan_margin(bench):
    return bench.compare("--margin", "nan")


@bad("'marign'", "did you mean 'margin'")
def config_typo(bench):
    return bench.compare("--config", bench.text("c.toml", "marign = 0.1\n"))


@bad("nowhere.toml", "cannot be read")
def config_missing(bench):
    return bench.compare("--config", bench.folder / "nowhere.toml")


@bad("broken.toml", "does not parse", "line 1")
def config_broken(bench):
    return bench.compare("--config", bench.text("broken.toml", "margin = = 1\n"))


@bad("broken.yaml", "does not parse", "line 1")
def config_of_broken_yaml(bench):
    return bench.compare("--config", bench.text("broken.yaml", "margin: [1\n"))


@bad("'.ini'", "use .toml, .yaml or .json")
def config_of_unknown_kind(bench):
    return bench.compare("--config", bench.text("c.ini", "[a]\n"))


@bad("holds a list", "table of options")
def config_that_is_no_table(bench):
    return bench.compare("--config", bench.text("c.json", "[1]"))


@bad("task = 5", "expected text")
def config_with_a_number_for_a_path(bench):
    return ["compare", str(bench.a), str(bench.b), "--config", str(bench.text("c.json", '{"task": 5}'))]


@bad("--fail-on sae", "add sae to --families")
def fail_on_what_is_not_measured(bench):
    return bench.compare(*QUICK, "--fail-on", "sae")


@bad("--fail-on route", "add mechanism to --families")
def fail_on_a_mechanism_that_is_not_measured(bench):
    return bench.compare(*QUICK, "--fail-on", "route")


@bad("--fail-on faithfulness", "add faithfulness to --families")
def fail_on_faithfulness_that_is_not_measured(bench):
    return bench.compare(*QUICK, "--fail-on", "faithfulness")


@bad("'comapre'", "compare", "--help")
def unknown_command(bench):
    return ["comapre"]


@bad("'--marign'", "did you mean --margin")
def unknown_flag(bench):
    return bench.compare("--marign", "0.1")


@bad("--seed", "'-1'", "whole number")
def negative_seed_of_the_zoo(bench):
    return ["zoo", "train", "honest", "--seed", "-1", "--out", str(bench.out)]


@bad("'honset'", "did you mean honest")
def unknown_recipe(bench):
    return ["zoo", "train", "honset", "--out", str(bench.out / "deep" / "deeper")]


@bad("'blocks.7.hook_resid_post'", "did you mean")
def unknown_hook_point_of_an_extraction(bench):
    points = ["--hook-points", "blocks.7.hook_resid_post"]
    return ["extract", str(bench.a), "--task", str(bench.table()), "--out", str(bench.out / "deep"), *points]


# -- the place of the results -----------------------------------------------------------------------------------------


@bad("out", "is a file", "name a directory")
def out_is_a_file(bench):
    bench.out.write_text("mine")
    return bench.compare()


@bad("out/deep", "is a file", "name a directory")
def out_under_a_file(bench):
    bench.out.write_text("mine")
    return [*bench.compare(), "--out", str(bench.out / "deep")]


@bad("'thesis.tex'", "new or an empty directory")
def out_with_files_of_others(bench):
    bench.out.mkdir()
    (bench.out / "thesis.tex").write_text("mine")
    return bench.compare()


@bad("out", "Permission denied", "you may write to")
def out_read_only(bench):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    bench.patch.setattr(tempfile, "TemporaryFile", refuse)
    return bench.compare()


@bad("free", "bytes", "free some space")
def disk_too_small(bench):
    usage = namedtuple("usage", "total used free")
    bench.patch.setattr(shutil, "disk_usage", lambda _: usage(100, 90, 10))
    return bench.compare(*QUICK)


@bad("No space left", "free some space")
def disk_full_while_extracting(bench):
    write, calls = store._write, []

    def fill(descriptor, data):
        calls.append(data)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(descriptor, data)

    bench.patch.setattr(store, "_write", fill)
    return bench.compare(*QUICK)


@bad("No space left", "make room")
def disk_full_while_reporting(bench):
    def fill(self, folder):
        (folder / "metrics.parquet").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    bench.patch.setattr(Comparison, "save", fill)
    return bench.compare(*QUICK)


@bad("'recipe.txt'", "new or an empty directory")
def zoo_export_over_files_of_others(bench):
    bench.out.mkdir()
    (bench.out / "recipe.txt").write_text("mine")
    return ["zoo", "export", "honest", "--out", str(bench.out)]


@bad("out", "holds no readable comparison", "--out of a compare job")
def report_of_no_comparison(bench):
    return ["report", str(bench.out)]


@bad("out", "no readable comparison", "run the comparison again")
def report_of_half_a_comparison(bench):
    bench.out.mkdir()
    (bench.out / "comparison.json").write_text('{"format": 1}')
    for name in ("metrics", "items"):
        pd.DataFrame({"a": [1]}).to_parquet(bench.out / f"{name}.parquet")
    return ["report", str(bench.out)]


@pytest.mark.parametrize("kind", CASES)
def test_bad_input_is_refused_in_one_line_and_leaves_nothing(kind, bench, capfd):
    make, said = CASES[kind]
    argv = make(bench)
    before = contents(bench.folder)

    code = main(argv)

    shown = capfd.readouterr()
    assert code == 2, shown
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("mechdecouple: ")
    assert [words for words in said if words not in line] == [], line
    assert contents(bench.folder) == before


def test_there_are_more_than_thirty_kinds():
    assert len(CASES) >= 30


# -- the same through Python ------------------------------------------------------------------------------------------


def test_activations_of_other_items_are_refused():
    import numpy as np

    one, other = (mechdecouple.Activations.from_arrays({"h": np.eye(3)}, ids=list(ids)) for ids in ("abc", "abd"))
    with pytest.raises(mechdecouple.MechDecoupleError, match=r"row 2 is 'c' here and 'd' there"):
        one.check_aligned(other)


def test_folded_weights_are_not_compared_with_raw_ones(gpt2_dir, yes_no_csv):
    folded = mechdecouple.load(gpt2_dir, fold_ln=True, name="folded")
    with pytest.raises(mechdecouple.MechDecoupleError, match=r"'folded' has LayerNorm folded .* load both alike"):
        mechdecouple.compare(folded, mechdecouple.load(gpt2_dir), str(yes_no_csv), progress=False)


# -- when all is well -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(gpt2_dir, llama_dir, yes_no_csv, tmp_path_factory):
    """The directory of a finished comparison; copy it before changing it."""
    out = tmp_path_factory.mktemp("finished") / "out"
    argv = ["compare", str(gpt2_dir), str(llama_dir), "--task", str(yes_no_csv), "--out", str(out), "--quiet", *QUICK]
    assert main(argv) == 0
    return out


@pytest.fixture
def again(bench, finished, yes_no_csv):
    """The arguments of the finished comparison on a copy of its directory."""
    shutil.copytree(finished, bench.out)
    return bench.compare(*QUICK, task=yes_no_csv)


def test_compare_writes_everything(finished):
    names = set(contents(finished))
    assert {"comparison.json", "metrics.parquet", "items.parquet", "report.html", "figures", "tables"} <= names
    assert not [name for name in names if ".part" in name]
    assert mechdecouple.Comparison.load(finished).provenance["options"]["permutations"] == 19


@pytest.fixture
def no_report(monkeypatch):
    """Only the comparison itself is written: figures take seconds and have tests of their own."""
    monkeypatch.setattr("mechdecouple.report.write_results", lambda comparison, out: comparison.save(out))


def test_a_corrupt_shard_is_made_again(again, bench, finished, no_report, capfd):
    shard = next((bench.out / "activations" / "a").glob("shard-*"))
    data = bytearray(shard.read_bytes())
    data[-8:] = b"\x00" * 8
    shard.write_bytes(bytes(data))
    assert main([word for word in again if word != "--quiet"]) == 0
    assert "does not match its checksum; it is made again" in capfd.readouterr().err
    assert contents(bench.out / "activations" / "a") | {"times.json": ""} == contents(
        finished / "activations" / "a"
    ) | {"times.json": ""}


@pytest.mark.parametrize("changed", [("--position", "mean"), ("--batch-tokens", "64")])
def test_activations_of_other_options_are_refused(again, bench, changed, capfd):
    before = contents(bench.out)
    assert main([*again, *changed]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "were made with" in line and "choose another folder" in line
    assert contents(bench.out) == before


def test_a_full_disk_leaves_an_earlier_comparison_as_it_was(again, bench, capfd):
    disk_full_while_reporting(bench)
    before = contents(bench.out)
    assert main(again) == 2
    assert "No space left" in capfd.readouterr().err
    assert contents(bench.out) == before


def test_report_is_written_again(bench, finished, capfd):
    shutil.copytree(finished, bench.out)
    (bench.out / "report.html").unlink()
    assert main(["report", str(bench.out)]) == 0
    assert (bench.out / "report.html").is_file()
    assert str(bench.out / "report.html") in capfd.readouterr().out


def test_one_class_of_truth_is_a_reasoned_nan(bench, no_report, capfd):
    table = bench.table(truth="1", answer="yes", concept_second="1")
    families = ("--families", "structure", "beliefs", "--blocks", "5", "--bootstrap", "200", "--probe-items", "32")
    assert main(bench.compare(*families, task=table)) == 0, capfd.readouterr().err
    found = Comparison.load(bench.out).frame()
    beliefs = found[found["metric"].isin(["represented_auroc_selected", "auroc_gap", "ccgp"])]
    assert len(beliefs)
    assert beliefs["value"].isna().all()
    assert (beliefs["reason"].str.len() > 10).all()


@pytest.mark.parametrize("position", ["mean", "all", "position_word"])
def test_every_position_can_be_compared(position, bench, no_report, capfd):
    table = bench.table(drop="truth", position_word={i: p.split()[0] for i, p in enumerate(bench.items["prompt"])})
    families = ("--families", "robustness", "similarity", "--position", position)
    assert main(bench.compare(*QUICK, *families, task=table)) == 0, capfd.readouterr().err
    found = Comparison.load(bench.out).frame().query("metric == 'noise_tolerance'")
    assert len(found)
    assert (found["value"].notna() | (found["reason"] != "")).all()


def test_fail_on_gives_three(bench, no_report, capfd):
    table = bench.text(
        "scores.csv",
        "id,prompt,score_a,score_b\n" + "".join(f"{i},w{i % 30} w1 w{i % 7},{i % 10 > 0:d},0\n" for i in range(60)),
    )
    assert main(bench.compare(*QUICK, "--fail-on", "gate", task=table)) == 3, capfd.readouterr().err
    assert (bench.out / "comparison.json").is_file()
    assert main(bench.compare(*QUICK, "--fail-on", "calibration", task=table)) == 0


def test_files_and_flags_give_the_same_config(bench, monkeypatch):
    options = {
        "margin": 0.03,
        "families": ["structure", "sae"],
        "fold_ln": True,
        "columns": {"prompt": "text"},
        "seed": 4,
    }
    flags = [
        "--margin",
        "0.03",
        "--families",
        "structure",
        "sae",
        "--fold-ln",
        "--columns",
        "prompt=text",
        "--seed",
        "4",
    ]
    toml = 'margin = 0.03\nfamilies = ["structure", "sae"]\nfold_ln = true\nseed = 4\ncolumns = {prompt = "text"}\n'
    yaml = "margin: 0.03\nfamilies: [structure, sae]\nfold_ln: true\nseed: 4\ncolumns: {prompt: text}\n"
    files = {"c.json": json.dumps(options), "c.toml": toml, "c.yaml": yaml}
    seen = []
    monkeypatch.setattr(
        "mechdecouple.cli.commands._run",
        lambda a, b, task, out, settings, _: seen.append(make_config(settings)) or Answer(),
    )
    assert main(["compare", "A", "B", "--task", "T.csv", "--out", "o", *flags]) == 0
    for name, content in files.items():
        assert (
            main(["compare", "A", "B", "--task", "T.csv", "--out", "o", "--config", str(bench.text(name, content))])
            == 0
        )
    assert seen == [make_config(options)] * 4


def test_the_command_line_wins_over_the_config(bench, monkeypatch):
    seen = []
    monkeypatch.setattr("mechdecouple.cli.commands._run", lambda *given: seen.append(given[:5]) or Answer())
    config = bench.text(
        "c.json", json.dumps({"a": "X", "b": "B", "task": "T.csv", "out": "o", "margin": 0.5, "seed": 1})
    )
    assert main(["compare", "A", "--config", str(config), "--margin", "0.1"]) == 0
    assert seen == [("A", "B", "T.csv", Path("o"), {"margin": "0.1", "seed": 1})]


def test_extract_goes_on_where_it_was_stopped(bench, capfd):
    argv = ["extract", str(bench.a), "--task", str(bench.table()), "--out", str(bench.out), "--hook-points"]
    argv += ["blocks.0.hook_resid_post", "blocks.1.hook_resid_post"]
    assert main(argv) == 0
    assert "60 rows at 2 hook points" in capfd.readouterr().out
    whole = contents(bench.out)
    (bench.out / "shard-00000.safetensors").unlink()
    assert main(argv) == 0
    assert contents(bench.out) | {"times.json": ""} == whole | {"times.json": ""}
    assert mechdecouple.Activations.open(bench.out, verify=True)["blocks.1.hook_resid_post"].shape == (60, 16)


def test_zoo_list_names_every_model(capfd):
    from mechdecouple import zoo

    assert main(["zoo", "list"]) == 0
    shown = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in shown] == [name for name, _, _ in zoo.names()]


# -- speed ------------------------------------------------------------------------------------------------------------


def best_of_three(code: str) -> tuple[float, str]:
    found = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found.append((time.perf_counter() - start, done.stdout))
    return min(found)


def test_help_is_quick_and_light():
    code = """
import sys
from mechdecouple.cli import main
try:
    main(["--help"])
finally:
    print("heavy:", sorted({"torch", "pandas", "numpy", "pydantic"} & set(sys.modules)))
"""
    seconds, shown = best_of_three(code)
    assert "compare" in shown and "heavy: []" in shown
    assert seconds < 0.6


def test_every_option_is_described_in_the_help(capfd):
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--help"])
    assert stop.value.code == 0
    shown = capfd.readouterr().out
    for name in mechdecouple.CompareConfig.model_fields:
        assert "--" + name.replace("_", "-") in shown


def test_a_sentence_on_interruption(bench, monkeypatch, capfd):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mechdecouple.cli.commands._run", stop)
    assert main(["compare", "A", "B", "--task", "T.csv", "--out", "o"]) == 130
    assert capfd.readouterr().err == "mechdecouple: interrupted; run the same command again to continue\n"


def test_output_that_nobody_reads_any_more_leaves_no_trace(bench, monkeypatch, capfd):
    def print_to_a_closed_pipe(*_):
        raise BrokenPipeError

    monkeypatch.setattr("mechdecouple.cli.commands._run", print_to_a_closed_pipe)
    assert main(["compare", "A", "B", "--task", "T.csv", "--out", "o"]) == 141
    assert capfd.readouterr().err == ""
