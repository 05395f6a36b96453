"""What share of a training step goes to reading its batch from the shards?

python benchmarks/all.py --only loader
"""

from benchmarks import contestants
from benchmarks.contestants import Contestant
from benchmarks.measuring import Plan, Row, alternate, make_row, seconds_of


def measure(plan: Plan) -> list[Row]:
    """Milliseconds of reading a batch and of a whole step, at the size of ``tiny``, where a step is shortest."""
    preset = contestants.preset_for("tiny", plan)
    data = contestants.book_shards(preset, plan)
    one = Contestant(contestants.make_ours, preset, contestants.our_settings(preset), plan.scratch, data)
    tokens, steps = preset.pretrain_batch * preset.context_length, 2 if plan.quick else 10
    dataset, number = one.trainer.dataset, iter(range(10**9))
    pair = alternate(
        lambda: 1e3 * seconds_of(lambda: [dataset.batch(next(number)) for _ in range(steps)]) / steps,
        lambda: 1e3 * tokens / one.speed(steps),
        plan, "loader",
    )  # fmt: skip
    what = f"Reading the batch of a step, {preset.pretrain_batch} × {preset.context_length} tokens"
    return [make_row("loader", what, "the whole step, this included", "ms", *pair, aim="<= 0.02")]
