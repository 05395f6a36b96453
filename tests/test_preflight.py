"""What a preset will cost: measured on a few steps, and fitted into the memory there is."""

import subprocess
from dataclasses import replace

import pytest
import torch

from artifacts import CourseError
from course_kit import preflight
from course_kit.preflight import Measured, cost, largest_micro_batch, main, measure, peak_at, report
from Dummy_Model import GPT
from presets import PRESETS, Preset

SMALL = replace(
    PRESETS["tiny"], n_layer=1, n_embd=32, n_head=2, n_kv_head=1, context_length=32, vocab_size=4096, micro_batch=4
)


def at(rows: int, peak: float, seconds: float = 1.0) -> Measured:
    return Measured(rows, 2, seconds, int(peak))


def test_memory_lies_on_a_line():
    few, more = at(2, 1000e6), at(4, 1400e6)
    assert peak_at(few, more, 1) == pytest.approx(800e6)
    assert peak_at(few, more, 16) == pytest.approx(3800e6)
    assert peak_at(at(2, 1000), at(4, 990), 8) == 1000, "noise is no slope downwards"


@pytest.mark.parametrize(("available", "rows"), [(100e9, 256), (8e9, 32), (4e9, 8), (1e9, 1)])
def test_the_largest_micro_batch_that_fits(available, rows):
    few, more = at(1, 800e6), at(2, 1000e6)
    assert largest_micro_batch(few, more, 256, available) == rows
    assert 256 % rows == 0


def test_the_batch_is_cut_evenly():
    assert largest_micro_batch(at(1, 0.5e9), at(2, 0.6e9), 6, 1.0e9) == 3
    assert largest_micro_batch(at(1, 0.5e9), at(2, 0.6e9), 6, 0.95e9 / preflight.USABLE) == 3


def test_too_little_memory_is_one_line():
    with pytest.raises(CourseError, match="Even one row at once needs 0.8 GB, and 0.5 GB are free") as caught:
        largest_micro_batch(at(1, 800e6), at(2, 1000e6), 256, 0.5e9)
    assert "\n" not in str(caught.value)


def fake(monkeypatch, few: Measured, more: Measured):
    monkeypatch.setattr(preflight, "measure", lambda preset, rows: few if rows == few.rows else more)


def test_a_laptops_gpu_gets_a_micro_batch_of_its_own(monkeypatch):
    fake(monkeypatch, at(1, 2.8e9), at(2, 3.3e9))
    full = PRESETS["full"]
    assert cost(full, fit=8e9).micro_batch == 8
    assert cost(full, fit=80e9).micro_batch == 128
    with pytest.raises(CourseError, match="choose a smaller preset"):
        cost(full, fit=2e9)
    assert "8 rows at once (8.0 GB are free)" in report(full, fit=8e9)


def test_hours_are_those_of_the_whole_batch(monkeypatch):
    # A row takes 0.25 s, and a step 0.5 s whatever its rows.
    fake(monkeypatch, at(1, 1e9, 2 * 1 * 0.25 + 0.5), at(2, 1e9, 2 * 2 * 0.25 + 0.5))
    full = PRESETS["full"]
    c = cost(full)
    assert c.pretrain_seconds == pytest.approx(full.pretrain_steps * (0.5 + 256 * 0.25))
    assert c.sft_seconds == pytest.approx(full.sft_steps * (0.5 + 64 * 0.25))


def test_the_two_measurements_differ_in_their_rows(monkeypatch):
    """Else the difference of two equal steps, which is noise, would be taken for what a row costs."""
    seen = []

    def steps(preset, rows, passes):
        seen.append(rows * passes)
        return 0.5 + 0.05 * rows * passes

    monkeypatch.setattr(preflight, "choose_device", lambda: torch.device("cuda"))  # measures in this process
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda: 10**9)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10**11, 10**11))
    monkeypatch.setattr(preflight, "_train_steps", steps)
    for name, preset in PRESETS.items():
        c = cost(preset)
        assert seen[-1] > seen[-2], name
        assert (c.step_seconds, c.row_seconds) == (pytest.approx(0.5), pytest.approx(0.05)), name


def test_the_fastest_step_counts(monkeypatch):
    clock = iter([0.0, 9.0, 10.0, 10.5, 11.0, 99.0])  # steps of 9, 0.5 and 88 seconds
    monkeypatch.setattr(preflight.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(preflight, "TIMED_SECONDS", 50.0)
    assert preflight._train_steps(replace(SMALL, n_layer=1), 1, 1) == 0.5


def test_a_containers_memory_is_what_is_free(monkeypatch):
    fake(monkeypatch, at(4, 0.2e9), at(8, 0.3e9))
    monkeypatch.setattr(preflight.memory, "free", lambda: 700_000_000)
    assert cost(PRESETS["tiny"]).free_bytes == 700_000_000 and "(0.7 GB are free)" in report(PRESETS["tiny"])


def test_real_steps_are_measured(monkeypatch):
    monkeypatch.setattr(preflight, "TIMED_SECONDS", 0.1)
    one = measure(SMALL, 2)
    assert 0 < one.seconds < 30 and 100e6 < one.peak_bytes < 3e9 and one.passes == 2
    more = measure(replace(SMALL, n_embd=512, n_head=4), 2)  # 16 bytes and more for 3 million more weights
    assert more.peak_bytes > one.peak_bytes + 30e6
    ballast = b"x" * 500_000_000  # what measures is no part of what is measured
    assert measure(SMALL, 2).peak_bytes < one.peak_bytes + len(ballast) / 2


def test_the_plain_arithmetic():
    c = cost(PRESETS["full"], timed=False)
    assert 125e6 < c.parameters < 135e6 and c.peak_bytes is None
    assert c.parameters == GPT(preflight.model_config(PRESETS["full"])).config.n_parameters
    assert 1.5e9 < c.state_bytes < 2.2e9
    assert "at least" in report(PRESETS["full"], timed=False)


def test_failed_steps_are_one_line():
    broken = Preset(**{**SMALL.__dict__, "n_head": 3})
    with pytest.raises(CourseError, match="rows at once of preset tiny failed .*multiple of n_head") as caught:
        measure(broken, 2)
    assert "\n" not in str(caught.value)


def test_the_command(capsys):
    main(["--no-timing", "--preset", "cpu"])
    assert "preset cpu" in capsys.readouterr().out


def test_compiling_needs_a_compiler_and_pythons_headers(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight, "choose_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(preflight.sys, "platform", "linux")
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(preflight.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(preflight.shutil, "which", lambda name: "/usr/bin/g++")
    assert preflight.can_compile(PRESETS["cpu"]) and not preflight.can_compile(PRESETS["tiny"])
    (tmp_path / "Python.h").unlink()
    assert not preflight.can_compile(PRESETS["cpu"])
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(preflight.shutil, "which", lambda name: None)
    assert not preflight.can_compile(PRESETS["cpu"])


@pytest.mark.parametrize("name, rows", [("laptop", 4), ("t4", 8), ("4090", 16), ("h100", 64)])
def test_a_gpu_that_is_not_here_is_predicted_and_said_to_be(name, rows, capsys):
    main(["--preset", "full", "--gpu", name])
    told = capsys.readouterr().out
    assert "a prediction, nothing of it measured" in told and f"; {rows} should fit" in told
    assert " of pretraining and " in told and "of fine-tuning" in told


def test_what_was_measured_on_a_gpu_lies_in_what_is_predicted():
    h100 = preflight.GPUS["h100"]  # an H200 calculates as fast
    pretrain, sft = preflight.predicted_seconds(PRESETS["night"], h100, 32)
    assert pretrain[0] < 90 < pretrain[1] < 300 and sft[0] < 142 < sft[1] < 400
    full = PRESETS["full"]
    pretrain, _ = preflight.predicted_seconds(full, h100, 32)
    assert pretrain[0] < full.pretrain_tokens / 209_000 < pretrain[1]


def test_several_gpus_share_the_work(capsys):
    one, four = (preflight.predicted_seconds(PRESETS["full"], preflight.GPUS["4090"], 4, n)[0] for n in (1, 4))
    assert one[0] / 4 < four[0] < one[0] / 2, "less for each, and the gradients to exchange"
    main(["--preset", "full", "--gpu", "4090", "--gpus", "4"])
    told = capsys.readouterr().out
    assert "on 4 GPUs, each like one RTX 4090" in told and "(0.079 s of each step for the exchange)" in told
    with pytest.raises(SystemExit, match="3 GPUs can't share the 256 rows"):
        main(["--preset", "full", "--gpu", "4090", "--gpus", "3"])


def test_gpus_in_several_machines_exchange_over_the_network(capsys):
    full, gpu = PRESETS["full"], preflight.GPUS["4090"]
    ethernet = replace(gpu, link=10e9 / 8)
    beside = preflight.exchange_seconds(full, ethernet, 4)
    # Each of four sends three quarters of four bytes for every weight, twice.
    assert beside == pytest.approx(2 * 3 / 4 * 4 * preflight.model_config(full).n_parameters / 1.25e9)
    fast, slow = (preflight.predicted_seconds(full, kind, 4, 4)[0][1] for kind in (gpu, ethernet))
    more = beside - preflight.exchange_seconds(full, gpu, 4)
    assert slow - fast == pytest.approx(full.pretrain_steps * more)
    assert preflight.exchange_seconds(full, ethernet, 1) == 0
    main(["--preset", "full", "--gpu", "4090", "--gpus", "4", "--network", "10"])
    assert f"({beside:.2g} s of each step for the exchange)" in capsys.readouterr().out


def test_what_is_kept_for_the_way_back_is_what_autograd_keeps():
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    model = GPT(preflight.model_config(SMALL))
    ids = torch.zeros(4, SMALL.context_length, dtype=torch.long)
    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with hooks, torch.autocast("cpu", dtype=torch.bfloat16):
        model.hidden(ids)
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    real = sum(storage.nbytes() for place, storage in kept.items() if place not in weights)
    logits = 3 * 4 * 4 * SMALL.context_length * SMALL.vocab_size
    assert preflight.kept_bytes(SMALL, 4) - logits == pytest.approx(real, rel=0.05)
    assert preflight.kept_bytes(SMALL, 8) > 1.8 * preflight.kept_bytes(SMALL, 4)


def test_a_failed_measurement_says_what_was_wrong_not_the_advice_after_it(monkeypatch):
    said = "Traceback:\n  a line\nx.InductorError: ImportError: k.so: file too short\n\nSet VERBOSE=1\n"
    monkeypatch.setattr(preflight, "choose_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(preflight.doctor, "run_module", lambda *_: subprocess.CompletedProcess([], 1, "", said))
    with pytest.raises(CourseError, match="file too short"):
        preflight.measure(PRESETS["tiny"], 4)
