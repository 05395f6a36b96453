"""What only a GPU does in earnest, as far as a processor can show it: float16 and its scaler, devices, precisions."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from small_training import CONFIG, SHAPE, curve, make_model, make_trainer

import Dummy_Model
import npy_datasets
import train
from Dummy_Model import GPT, choose_precision
from train import TrainingStopped

HALF = replace(CONFIG, precision="float16", micro_batch_size=4)  # two micro-batches a step
INF = math.inf


def inject(weight: torch.nn.Parameter, values: dict[int, float]) -> None:
    """Adds to the gradient of ``weight`` at the given backward passes, counted from 0."""
    calls = iter(range(10**9))
    weight.register_hook(lambda gradient: gradient + values.get(next(calls), 0.0))


def weights_of(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


# Passes 4 and 5 are the two micro-batches of step 3: infinities of both signs add up to what is no number.
INFINITIES = {"both signs": {4: INF, 5: -INF}, "the second alone": {5: INF}, "no number": {4: math.nan}}


@pytest.mark.parametrize("weight", ["blocks.0.attention.q_proj.weight", "embedding.weight", "norm.weight"])
@pytest.mark.parametrize("values", INFINITIES.values(), ids=INFINITIES)
def test_a_gradient_too_large_for_float16_moves_no_weight(shards, tmp_path, weight, values):
    """Whichever optimizer it belongs to, neither steps; the scale is halved, and training goes on."""
    trainer = make_trainer(shards, tmp_path, HALF)
    inject(dict(trainer.model.named_parameters())[weight], values)
    for step in range(2):
        trainer.learn(step)
    before, scale = weights_of(trainer), trainer.scaler.get_scale()
    _, norm, _ = trainer.learn(2)
    assert not math.isfinite(norm) and trainer.scaler.get_scale() == scale / 2
    assert all(torch.equal(value, before[name]) for name, value in weights_of(trainer).items())
    _, norm, _ = trainer.learn(3)
    assert math.isfinite(norm)
    assert any(not torch.equal(value, before[name]) for name, value in weights_of(trainer).items())


def test_a_run_in_float16_outlives_infinities_and_learns(shards, tmp_path):
    trainer = make_trainer(shards, tmp_path, HALF)
    inject(trainer.model.blocks[0].attention.q_proj.weight, INFINITIES["both signs"])
    inject(trainer.model.embedding.weight, {20: INF, 24: -INF})
    result = trainer.run()
    assert result["finished"] and math.isfinite(result["loss"])
    assert all(value.isfinite().all() for value in GPT.load(tmp_path / "model").state_dict().values())
    losses = [float(row["loss"]) for row in curve(tmp_path)]
    assert losses[-1] < losses[0] - 0.5


def test_a_run_that_overflows_for_ever_ends_and_saves_nothing(shards, tmp_path):
    trainer = make_trainer(shards, tmp_path, replace(HALF, max_steps=200))
    inject(trainer.model.embedding.weight, dict.fromkeys(range(10**4), INF))
    with pytest.raises(TrainingStopped, match="Bad step 20 .*gradient norm (inf|nan)"):
        trainer.run()
    assert not (tmp_path / "model").exists()


def test_a_stop_in_float16_goes_on_with_its_scale(shards, tmp_path):
    whole = make_trainer(shards, tmp_path / "whole", HALF)
    inject(whole.model.embedding.weight, {4: INF})
    whole.run()
    first = make_trainer(shards, tmp_path / "parts", replace(HALF, checkpoint_every=6))
    inject(first.model.embedding.weight, {4: INF})
    learn = first.learn
    first.learn = lambda step: (first._ask_to_stop() if step == 6 else None, learn(step))[1]
    assert not first.run()["finished"]
    assert make_trainer(shards, tmp_path / "parts", HALF).run()["finished"]
    assert curve(tmp_path / "parts") == curve(tmp_path / "whole")


@pytest.mark.parametrize(("first", "then"), [("float32", "float16"), ("float16", "float32")])
def test_a_run_does_not_change_its_precision_unseen(shards, tmp_path, capsys, first, then):
    """It goes on, since the weights are float32 in any case, and says so; or it says in a line why not."""
    stopped = make_trainer(shards, tmp_path, replace(CONFIG, precision=first))
    learn = stopped.learn
    stopped.learn = lambda step: (stopped._ask_to_stop() if step == 6 else None, learn(step))[1]
    stopped.run()
    assert make_trainer(shards, tmp_path, replace(CONFIG, precision=then)).run()["finished"]
    assert f"precision {first}, now {then}" in capsys.readouterr().err


def test_processes_talk_over_both_backends_where_there_is_a_gpu(monkeypatch):
    """``device="cpu"`` needs gloo, on a machine with CUDA too; and each process takes its GPU before anything else."""
    calls = []
    monkeypatch.setattr(npy_datasets.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(npy_datasets.torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(npy_datasets.torch.cuda, "set_device", lambda device: calls.append(f"cuda:{device}"))
    monkeypatch.setattr(npy_datasets.dist, "init_process_group", calls.append)
    monkeypatch.setattr(npy_datasets.dist, "destroy_process_group", lambda: calls.append("end"))
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    with npy_datasets.joined_processes() as joined:
        assert joined == (5, 8)
    assert calls == ["cuda:1", "cpu:gloo,cuda:nccl", "end"]
    monkeypatch.setenv("LOCAL_RANK", "5")  # more processes than GPUs: they can still train on the processor
    calls.clear()
    with npy_datasets.joined_processes():
        pass
    assert calls == ["cpu:gloo,cuda:nccl", "end"]


def test_half_precision_on_apples_gpu_is_refused():
    mps = torch.device("mps")
    assert choose_precision(mps) == torch.float32
    for name in ("bfloat16", "float16"):
        with pytest.raises(ValueError, match=f"precision='{name}' isn't safe on Apple's GPU"):
            choose_precision(mps, name)


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16)])
def test_older_gpus_take_float16(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision(torch.device("cuda:0")) == dtype


class OnCuda(torch.Tensor):
    """A tensor that says it is on a GPU."""

    is_cuda = True


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_grouped_heads_are_repeated_on_cuda(monkeypatch, masked):
    """So that a kernel is found there that takes masks; the result is that of ``enable_gqa``."""
    torch.manual_seed(1)
    attention, x = Dummy_Model.MultiHeadAttention(SHAPE), torch.randn(2, 5, SHAPE.n_embd)
    rotation = Dummy_Model.RotaryEmbedding(SHAPE.head_width, 16, 1e4).at(torch.arange(5))
    mask = torch.ones(5, 5, dtype=torch.bool).tril() if masked else None
    attend, seen = F.scaled_dot_product_attention, []

    def watched(q, k, v, **options):
        seen.append((q.shape[1], k.shape[1], options["enable_gqa"]))
        return attend(q, k, v, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    grouped = attention(x, rotation, mask, None, 0)
    repeated = attention(x.as_subclass(OnCuda), rotation, mask, None, 0)
    assert seen == [(4, 2, True), (4, 4, False)]
    torch.testing.assert_close(repeated.as_subclass(torch.Tensor), grouped)


def test_norm_weights_act_in_training_as_in_talking():
    """Autocast may round what goes through a norm, not the norm's own weight."""
    norm = Dummy_Model.RMSNorm(64, 1e-6)
    torch.nn.init.constant_(norm.weight, 1.001)  # bfloat16 would make it 1
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(2)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
    expected = F.rms_norm(x.float(), (64,), norm.weight, 1e-6).to(torch.bfloat16)
    assert y.dtype == torch.bfloat16 and torch.equal(y, expected)


def test_a_gpu_gets_larger_chunks_of_the_loss(monkeypatch):
    monkeypatch.setattr(Dummy_Model, "LOGITS_AT_ONCE", 64 * 64)
    monkeypatch.setattr(Dummy_Model, "LOGITS_AT_ONCE_CUDA", 64 * 128)
    model, ids = make_model(), torch.zeros(16, 16, dtype=torch.long)
    x, chunks = model.hidden(ids), []
    checkpoint = Dummy_Model.checkpoint
    monkeypatch.setattr(Dummy_Model, "checkpoint", lambda *a, **k: chunks.append(len(a[1])) or checkpoint(*a, **k))
    for like in (torch.Tensor, OnCuda):
        monkeypatch.setattr(model, "hidden", lambda *_, like=like: x.as_subclass(like))
        model.loss(ids, ids)
    assert chunks == [64] * 4 + [128] * 2
    monkeypatch.undo()
    assert Dummy_Model.LOGITS_AT_ONCE_CUDA > Dummy_Model.LOGITS_AT_ONCE


def test_the_trainer_takes_its_gpu_before_it_moves_the_model(monkeypatch, shards, tmp_path):
    calls = []
    monkeypatch.setattr(train, "choose_device", lambda name: torch.device("cuda:3"))
    monkeypatch.setattr(train, "choose_precision", lambda device, name: torch.float32)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(f"set {device}"))
    model = make_model()
    monkeypatch.setattr(model, "to", lambda device: calls.append(f"move to {device}") or model)
    make_trainer(shards, tmp_path, model=model)
    assert calls[:2] == ["set cuda:3", "move to cuda:3"]
