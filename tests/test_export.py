"""An exported model is the same model to ``transformers``, and a failed export leaves the disk as it was."""

import errno
import json
import os
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
import transformers
from small_chat import CONTEXT, TEXT, small_model, small_tokenizer
from small_export import ANSWER, CHATS, fail_with, learn, no_leftovers, wide_model, write_model

import artifacts
from artifacts import CourseError
from bpe_tokenizer import BPETokenizer
from chat.decoding import Settings
from chat.generation import generate_batch
from conversations import chat_format
from Dummy_Model import GPT
from export import folders, huggingface
from export.__main__ import main
from export.gguf_file import to_gguf

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(scope="module")
def tokenizer() -> BPETokenizer:
    return small_tokenizer()


@pytest.fixture(scope="module")
def models(tokenizer) -> dict[str, GPT]:
    trained = learn(small_model(tokenizer), tokenizer)
    return {"random": small_model(tokenizer), "wide": wide_model(tokenizer), "trained": trained}


@pytest.fixture(scope="module")
def shelf(models, tokenizer, tmp_path_factory) -> Path:
    """``<name>/model`` and its export ``<name>/hf`` for each model."""
    root = tmp_path_factory.mktemp("shelf")
    for name, model in models.items():
        huggingface.to_huggingface(write_model(model, tokenizer, root / name / "model"), root / name / "hf")
    return root


def opened(folder: Path):
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


# ---- the Hugging Face folder


@torch.no_grad()
@pytest.mark.parametrize("name", ["random", "wide", "trained"])
def test_transformers_computes_the_same_logits(name, models, shelf):
    theirs, told = transformers.AutoModelForCausalLM.from_pretrained(shelf / name / "hf", output_loading_info=True)
    assert type(theirs) is transformers.Qwen3ForCausalLM and theirs.dtype == torch.float32
    assert not any(told[what] for what in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    ids = torch.randint(300, (3, CONTEXT), generator=torch.Generator().manual_seed(0))
    ours = models[name](ids)
    assert (theirs(ids).logits - ours).abs().max() <= 1e-4
    assert ours.abs().max() > 1, "logits of nothing but zeros would agree too"


def test_the_chat_template_gives_our_ids(tokenizer, shelf):
    theirs = transformers.AutoTokenizer.from_pretrained(shelf / "random" / "hf")
    assert len(theirs) == tokenizer.vocab_size and theirs.model_max_length == CONTEXT
    for chat in CHATS:
        answered = [*chat, ANSWER]
        assert theirs.apply_chat_template(answered)["input_ids"] == chat_format.render(answered, tokenizer)[0]
        prompt = theirs.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
        assert prompt == chat_format.prompt_ids(chat, tokenizer)


@torch.no_grad()
@pytest.mark.parametrize("name", ["random", "wide", "trained"])
def test_generate_gives_our_tokens(name, models, tokenizer, shelf):
    theirs = opened(shelf / name / "hf")
    prompts = [ids for chat in CHATS if len(ids := chat_format.prompt_ids(chat, tokenizer)) < CONTEXT]
    prompts += [tokenizer.encode(TEXT)[:length] for length in range(1, 12)]
    assert len(prompts) > 24
    ours = generate_batch(models[name], tokenizer, prompts, Settings(temperature=0, max_new_tokens=12))
    for prompt, expected in zip(prompts, ours, strict=True):
        room = min(12, CONTEXT - len(prompt))
        made = theirs.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=room)
        made = made[0, len(prompt) :].tolist()
        ended = made[-1] in tokenizer.special.values()
        assert (made[:-1] if ended else made) == expected
        assert ended or len(made) == room
    if name == "trained":
        assert sum(chat_format.answer_text(answer, tokenizer) == "By the mill." for answer in ours) > 12


def test_prompts_padded_together_get_the_answers_they_get_alone(tokenizer, shelf):
    theirs, made = (
        transformers.AutoTokenizer.from_pretrained(shelf / "trained" / "hf"),
        opened(shelf / "trained" / "hf"),
    )
    chats = [chat for chat in CHATS if len(chat_format.prompt_ids(chat, tokenizer)) < CONTEXT - 12][:6]

    def answers(inputs):
        rows = made.generate(**inputs, max_new_tokens=10)[:, inputs["input_ids"].shape[1] :]
        return [theirs.decode(row, skip_special_tokens=True) for row in rows]

    ask = {"add_generation_prompt": True, "return_tensors": "pt", "return_dict": True}
    alone = [answers(theirs.apply_chat_template([chat], **ask))[0] for chat in chats]
    together = theirs.apply_chat_template(chats, padding=True, **ask)
    assert not together["attention_mask"].all() and answers(together) == alone


def test_an_exported_folder_is_exported_again_in_another_dtype(shelf, tmp_path):
    huggingface.to_huggingface(shelf / "trained" / "hf", tmp_path / "half", "bfloat16")
    huggingface.to_huggingface(shelf / "trained" / "model", tmp_path / "expected", "bfloat16")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "half" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes(), name


def test_transformers_finds_the_answer_in_what_is_generated(tokenizer, shelf):
    """As ``transformers serve`` does it. Of a Qwen3 it would expect Qwen's marks, and answer with the whole prompt."""
    theirs = transformers.AutoTokenizer.from_pretrained(shelf / "trained" / "hf")
    prompt = theirs.decode(theirs.apply_chat_template(CHATS[0], add_generation_prompt=True)["input_ids"])
    for end in [[], *([id] for id in tokenizer.special.values())]:
        made = [*tokenizer.encode(" By the mill.\n  Or not."), *end]
        assert theirs.parse_response(made, prefix=prompt) == {"role": "assistant", "content": "By the mill.\n  Or not."}


def test_an_answer_ends_at_every_special_token(tokenizer, shelf):
    made = transformers.GenerationConfig.from_pretrained(shelf / "random" / "hf")
    assert made.eos_token_id == sorted(tokenizer.special.values()) and made.pad_token_id == tokenizer.special["<|pad|>"]
    assert not made.do_sample and 0 < made.max_new_tokens < CONTEXT


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_shorter_dtype_halves_the_file(dtype, models, shelf, tmp_path):
    huggingface.to_huggingface(shelf / "trained" / "model", tmp_path / "hf", dtype)
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tmp_path / "hf", shelf / "trained" / "hf")]
    assert 0.45 < sizes[0] / sizes[1] < 0.55
    assert opened(tmp_path / "hf").dtype == getattr(torch, dtype)
    back = huggingface.from_huggingface(tmp_path / "hf").state_dict()
    for name, weight in models["trained"].state_dict().items():
        assert torch.equal(back[name], weight.to(getattr(torch, dtype)).float())


def test_a_base_model_has_no_template_and_ends_at_the_end_of_a_text(models, tokenizer, tmp_path):
    write_model(models["random"], tokenizer, tmp_path / "model", chat=False)
    huggingface.to_huggingface(tmp_path / "model", tmp_path / "hf")
    assert not (tmp_path / "hf" / "chat_template.jinja").exists()
    assert (
        json.loads((tmp_path / "hf" / "config.json").read_text())["eos_token_id"] == tokenizer.special["<|endoftext|>"]
    )
    assert "doesn't answer questions" in (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")


# ---- the card


@pytest.mark.parametrize("chat", [True, False])
def test_the_code_on_the_card_runs(chat, models, tokenizer, tmp_path, capsys):
    write_model(models["trained"], tokenizer, tmp_path / "model", chat)
    text = (huggingface.to_huggingface(tmp_path / "model", tmp_path / "hf") / "README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1].replace("this folder", str(tmp_path / "hf"))
    exec(code, {})
    assert capsys.readouterr().out.strip()


def test_the_card_tells_what_was_measured_and_nothing_else(models, tokenizer, tmp_path):
    phase = tmp_path / "artifacts" / "tiny" / "sft"
    write_model(models["trained"], tokenizer, phase / "model")
    huggingface.to_huggingface(phase / "model", tmp_path / "hf")
    assert "Nothing is recorded" in (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")
    artifacts.finish(phase, ["model/model.safetensors"], known=0.625, val_loss=1.2345, steps=60, tokenizer="abc")
    huggingface.to_huggingface(phase / "model", tmp_path / "hf")
    told = (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")
    assert "| 62.5% |" in told and "| 1.234 |" in told and "| 60 |" in told and "bits per byte" not in told
    assert "everyday" not in told
    exam = {
        "model": artifacts.sha256(phase / "model" / "model.safetensors"),
        "kinds": [{"kind": "short_talk", "right": 7, "asked": 20, "guessing": 3}],
        "examples": [{"prompt": "hi\nthere | you", "answer": "Hello!", "right": True}],
    }
    artifacts.write_json(phase.parent / "sampling" / "everyday.json", exam)
    huggingface.to_huggingface(phase / "model", tmp_path / "hf")
    told = (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")
    assert "| short talk | 7 | 20 | 3 |" in told and r"| hi there \| you | Hello! |  |" in told
    assert artifacts.read_json(tmp_path / "hf" / "manifest.json")["facts"]["everyday"]["kinds"] == exam["kinds"]
    models["random"].save(phase / "model")  # other weights: the figures aren't theirs
    huggingface.to_huggingface(phase / "model", tmp_path / "hf")
    assert "Nothing is recorded" in (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")


# ---- whole or not at all


@pytest.mark.parametrize("where", ["write_json", "write_text", "finish"])
def test_a_failed_run_leaves_the_earlier_export(where, shelf, tmp_path, monkeypatch):
    huggingface.to_huggingface(shelf / "random" / "model", tmp_path / "hf")
    before = {path.name: path.read_bytes() for path in (tmp_path / "hf").iterdir()}
    monkeypatch.setattr(artifacts, where, fail_with(FULL))
    with pytest.raises(CourseError, match="No space left on device.*nothing was changed") as caught:
        huggingface.to_huggingface(shelf / "trained" / "model", tmp_path / "hf")
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in (tmp_path / "hf").iterdir()} == before
    assert no_leftovers(tmp_path)


def test_an_export_that_cant_take_its_place_leaves_the_earlier_one(shelf, tmp_path, monkeypatch):
    huggingface.to_huggingface(shelf / "random" / "model", tmp_path / "hf")
    before = (tmp_path / "hf" / "model.safetensors").read_bytes()
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda a, b: fail_with(FULL)() if str(a).endswith(".tmp") else rename(a, b))
    with pytest.raises(CourseError, match="No space left"):
        huggingface.to_huggingface(shelf / "trained" / "model", tmp_path / "hf")
    assert (tmp_path / "hf" / "model.safetensors").read_bytes() == before and no_leftovers(tmp_path)


def test_a_second_export_replaces_the_first(shelf, models, tmp_path):
    for name in ("random", "trained"):
        huggingface.to_huggingface(shelf / name / "model", tmp_path / "deep" / "hf")
    back = huggingface.from_huggingface(tmp_path / "deep" / "hf")
    assert torch.equal(back.embedding.weight, models["trained"].embedding.weight) and no_leftovers(tmp_path)


def test_too_small_a_disk_is_known_before(shelf, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: usage(10, 9, 1))
    for write in (huggingface.to_huggingface, to_gguf):
        with pytest.raises(CourseError, match="Not enough disk for .*out.*MB needed"):
            write(shelf / "random" / "model", tmp_path / "out")
    assert not (tmp_path / "out").exists() and no_leftovers(tmp_path)


def test_what_others_put_there_stays(shelf, tmp_path):
    model = shelf / "random" / "model"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years", encoding="utf-8")
    (tmp_path / "file").write_text("x", encoding="utf-8")
    edited = huggingface.to_huggingface(model, tmp_path / "edited")
    (edited / "README.md").write_text("my own words", encoding="utf-8")
    for out, line in (("mine", "holds thesis.txt"), ("file", "is a file"), ("edited", "holds README.md.*changed")):
        with pytest.raises(CourseError, match=line):
            huggingface.to_huggingface(model, tmp_path / out)
    with pytest.raises(CourseError, match="holds chat_template.jinja"):
        huggingface.to_huggingface(model, model)
    assert GPT.load(model) and (edited / "README.md").read_text(encoding="utf-8") == "my own words"
    with pytest.raises(CourseError, match="is no GGUF file"):
        to_gguf(model, tmp_path / "file")
    with pytest.raises(CourseError, match="is a folder"):
        to_gguf(model, tmp_path / "mine")


def test_what_is_no_model_of_ours_is_one_line(shelf, models, tokenizer, tmp_path):
    def refused(line: str, folder: Path) -> None:
        for write in (huggingface.to_huggingface, to_gguf):
            with pytest.raises(CourseError, match=line) as caught:
                write(folder, tmp_path / "out")
            assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()

    refused("Missing .*config.json: name the folder of a finished model", tmp_path / "nothing")
    broken = write_model(models["random"], tokenizer, tmp_path / "broken")
    (broken / "tokenizer.json").unlink()
    refused("Missing .*tokenizer.json", broken)
    other = write_model(models["random"], BPETokenizer.train([TEXT], 310), tmp_path / "other")
    refused("the model knows 300 tokens and the tokenizer 310", other)
    (other / "model.safetensors").write_bytes(b"nothing")
    refused("holds no readable model of the course", other)
    (other / "config.json").write_text("[1]", encoding="utf-8")
    refused("holds no readable model of the course", other)


@pytest.mark.parametrize("write", [huggingface.to_huggingface, to_gguf])
def test_weights_that_do_not_fit_a_dtype_are_refused(write, models, tokenizer, tmp_path):
    model = small_model(tokenizer)
    with torch.no_grad():
        model.norm.weight[0] = 1e6
    write_model(model, tokenizer, tmp_path / "model")
    with pytest.raises(CourseError, match="norm.weight has a number that is infinite or none at all in float16"):
        write(tmp_path / "model", tmp_path / "out", "float16")
    with pytest.raises(CourseError, match="Unknown dtype 'int8'"):
        write(tmp_path / "model", tmp_path / "out", "int8")
    write(tmp_path / "model", tmp_path / "out", "bfloat16")


# ---- the command line


def test_the_command_line_writes_both_and_lists_them(shelf, tmp_path, capsys):
    out, file = tmp_path / "hf", tmp_path / "m.gguf"
    arguments = [str(shelf / "random" / "model"), str(out), "--dtype", "float16", "--gguf", str(file)]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    for path in [*out.iterdir(), file]:
        assert f"{path.stat().st_size:,} bytes  {path}" in told
    assert opened(out).dtype == torch.float16 and file.read_bytes()[:4] == b"GGUF"


def test_the_command_line_says_in_one_line_what_is_wrong(tmp_path, capsys):
    assert main([str(tmp_path / "nothing"), str(tmp_path / "hf")]) == 1
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "Missing" in told.err


def test_the_command_line_knows_the_home_folder_and_prints_in_any_encoding(shelf, tmp_path):
    environment = {**os.environ, "HOME": str(tmp_path), "USERPROFILE": str(tmp_path), "PYTHONIOENCODING": "cp1252"}
    environment |= {"PYTHONPATH": str(Path(folders.__file__).parent.parent)}
    command = [sys.executable, "-m", "export", shelf / "random" / "hf", "~/модель", "--gguf=~/модель.gguf"]
    done = subprocess.run(command, env=environment, capture_output=True, cwd=tmp_path)
    assert done.returncode == 0 and b"Traceback" not in done.stderr, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["модель", "модель.gguf"]


def test_a_gguf_file_alone_is_enough_and_nothing_at_all_is_refused(shelf, tmp_path, capsys):
    assert main([str(shelf / "random" / "model"), "--gguf", str(tmp_path / "m.gguf")]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["m.gguf"]
    for arguments in ([], ["a\0b"], ["~nobody-of-this-name/x"]):
        with pytest.raises(SystemExit):
            main([str(shelf / "random" / "model"), *arguments])
    assert "Traceback" not in capsys.readouterr().err
