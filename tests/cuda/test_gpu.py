"""Training, resuming, talking and foretelling on a real GPU, against the same on the processor."""

import gc
from dataclasses import replace

import pytest
import torch
from small_training import CONFIG, SHAPE, At, curve, make_model, make_trainer

from Dummy_Model import GPT
from presets import PRESETS

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU here"),
]
GPU = replace(CONFIG, device="cuda", precision="float32")


def test_a_step_is_the_step_of_the_processor(shards, tmp_path):
    make_trainer(shards, tmp_path / "cpu").run()
    make_trainer(shards, tmp_path / "gpu", GPU).run()
    losses = [[float(row["loss"]) for row in curve(tmp_path / name)] for name in ("cpu", "gpu")]
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_each_precision_learns_and_ends_finite(shards, tmp_path, precision):
    if precision == "bfloat16" and torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("this GPU has no bfloat16")
    result = make_trainer(shards, tmp_path, replace(GPU, precision=precision)).run()
    losses = [float(row["loss"]) for row in curve(tmp_path)]
    assert result["finished"] and losses[-1] < losses[0] - 0.5
    assert all(value.isfinite().all() for value in GPT.load(tmp_path / "model").state_dict().values())


@pytest.mark.parametrize("then", ["cuda", "cpu"])
def test_a_stopped_run_goes_on_there_and_on_the_processor(shards, tmp_path, capsys, then):
    first = make_trainer(shards, tmp_path, GPU)
    first.dataset = At(first.dataset, 8, first._ask_to_stop)
    assert not first.run()["finished"]
    before = curve(tmp_path)
    assert len(before) == 9
    assert make_trainer(shards, tmp_path, replace(GPU, device=then)).run()["finished"]
    assert curve(tmp_path)[: len(before)] == before and len(curve(tmp_path)) == GPU.max_steps
    assert ("device cuda, now cpu" in capsys.readouterr().err) == (then == "cpu")


def random_model() -> GPT:
    """Random in every weight: a fresh model's blocks add nothing, so it could hide any mistake in them."""
    model = make_model()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, 1.0 if weight.ndim == 1 else 0.0, 0.1)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masked_rows_with_grouped_heads_have_the_loss_of_the_processor(dtype):
    if dtype == torch.bfloat16 and torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("this GPU has no bfloat16")
    model, generator = random_model(), torch.Generator().manual_seed(3)
    ids = torch.randint(SHAPE.vocab_size, (4, 16), generator=generator)
    documents = torch.arange(16).expand(4, 16) // 5
    with torch.no_grad():
        expected = model.loss(ids, ids, documents).item()
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            found = model.cuda().loss(ids.cuda(), ids.cuda(), documents.cuda()).item()
    assert found == pytest.approx(expected, rel=1e-4 if dtype == torch.float32 else 2e-2)


@torch.inference_mode()
def test_a_cache_changes_no_logits():
    model = random_model().cuda().eval()
    ids = torch.randint(SHAPE.vocab_size, (3, 12), generator=torch.Generator().manual_seed(4)).cuda()
    cache = model.new_cache(3)
    pieces = [model(part, cache=cache) for part in ids.split([5, 1, 1, 4, 1], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), rtol=1e-3, atol=1e-3)


def test_the_memory_foretold_is_the_memory_taken(tmp_path):
    from course_kit.preflight import can_compile, measure, model_config
    from train import TrainConfig, Trainer

    preset, rows = PRESETS["cpu"], 4
    foretold = measure(preset, rows).peak_bytes
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    config = model_config(preset)

    class Rows:
        batch_size = 2 * rows

        def batch(self, step):
            ids = torch.randint(config.vocab_size, (2 * rows, config.context_length))
            return ids, ids

    trainer = Trainer(GPT(config), Rows(), TrainConfig(2, micro_batch_size=rows, compile=can_compile(preset)), tmp_path)
    for step in range(2):
        trainer.learn(step)
    taken = torch.cuda.max_memory_reserved()
    assert 0.8 * taken < foretold < 1.6 * taken
