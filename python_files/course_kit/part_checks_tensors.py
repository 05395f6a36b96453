"""Checks of a reader's attention head (3.1), RMSNorm (3.2), and Muon (3.3).

Each ends with a sentence on what has been shown, or with a ``Miss``.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from course_kit.part_reader import Reader, expect, expect_tensor, numbers
from Dummy_Model import GPT, GPTConfig
from train import Muon
from train import orthogonalize as right_orthogonalize

# ---- 3.1


def check_attention_head(reader: Reader) -> str:
    """Shape, mask, shares, scale, who asks whom, rows apart; and then torch's own attention."""
    generator = torch.Generator().manual_seed(3)

    def head(x: Tensor, *weights: Tensor) -> Tensor:
        doing = f"attention_head with x of {tuple(x.shape)} and weights of {tuple(weights[0].shape)}"
        found = reader.call("attention_head", x.clone(), *(w.clone() for w in weights), show=doing)
        expect_tensor(found, (*x.shape[:2], weights[0].shape[1]), doing)
        return found

    x = torch.randn(2, 5, 6, generator=generator)
    w_q, w_k, w_v = torch.randn(3, 6, 4, generator=generator)
    eye, zeros, ones = torch.eye(4), torch.zeros(4, 4), torch.ones(1, 5, 4)
    found = head(ones, zeros, eye, eye)[0, :, 0]
    line = f"where all values are 1, every output should be 1; those of five tokens are {numbers(found)}."
    hint = "Each token's shares have to add up to 1 over the tokens it looks at, after the mask as well."
    expect(torch.allclose(found, torch.ones(5), atol=1e-5), line, hint)
    out = head(x, w_q, w_k, w_v)
    later = x.clone()
    later[:, 3] += 1  # the fourth token
    moved = [t + 1 for t in range(3) if not torch.allclose(head(later, w_q, w_k, w_v)[:, t], out[:, t], atol=1e-5)]
    line = f"when the fourth token changes, so do the outputs of the tokens {moved}, which come before it."
    expect(
        not moved, line, "Section 5 of the lesson: which scores may a row keep, and what does softmax make of the rest?"
    )
    other = x.clone()
    other[1] += 1
    line = "when the second text of a batch changes, so does the output of the first."
    expect(torch.allclose(head(other, w_q, w_k, w_v)[0], out[0], atol=1e-5), line, "Texts of a batch never meet.")
    line = "the first token sees itself alone, so its output should be its own value."
    expect(torch.allclose(out[:, 0], (x @ w_v)[:, 0], atol=1e-5), line, "Is it the value that is handed over?")
    steps = torch.arange(5.0)[None, :, None].expand(1, 5, 4)
    found, right = head(steps, zeros, eye, eye)[0, :, 0], torch.arange(5.0) / 2
    line = f"with queries of 0, outputs are means of the values so far: {numbers(right)}. Yours are {numbers(found)}."
    expect(
        torch.allclose(found, right, atol=1e-5), line, "Equal scores get equal shares: of which tokens, and of what?"
    )
    for width in (4, 16):
        pair = torch.zeros(1, 2, width)
        pair[0, 1, 0] = 2.0  # the second token's score with itself is 4, and with the first 0
        found = head(pair, torch.eye(width), torch.eye(width), torch.eye(width))[0, 1, 0] / 2
        right = 1 / (1 + math.exp(-4 / math.sqrt(width)))
        line = f"dot products of 0 and 4 at a width of {width} should give a share of {right:.2f} to the second, "
        hint = "Section 4 of the lesson: how large is a typical score, and by what is it divided?"
        expect(abs(found - right) < 1e-3, f"{line}yours gives {found:.2f}.", hint)
    wide, projected = torch.randn(1, 3, 16, generator=generator), torch.randn(3, 16, 4, generator=generator)
    q, k, v = wide @ projected[0], wide @ projected[1], wide @ projected[2]
    right = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    swapped = F.scaled_dot_product_attention(k, q, v, is_causal=True)
    found = head(wide, *projected)
    line = "with random weights the shares come out as if queries and keys had changed places."
    expect(not torch.allclose(found, swapped, atol=1e-4), line, "The row of a score belongs to the token that looks.")
    line = f"with C=16 and D=4 the outputs differ from torch's by up to {(found - right).abs().max():.3f}."
    expect(torch.allclose(found, right, atol=1e-4), line, "Which of the two widths do queries and keys have?")
    learned = [w.clone().requires_grad_() for w in (w_q, w_k, w_v)]
    loss = reader.call("attention_head", x, *learned, show="attention_head").square().sum()
    line = "no gradient comes back to the weights, so that nothing could be learned."
    expect(loss.requires_grad, line, "Nothing on the way may be detached or made into a plain number.")
    slopes = torch.autograd.grad(loss, learned, allow_unused=True)
    missing = [name for name, slope in zip(("w_q", "w_k", "w_v"), slopes, strict=True) if slope is None]
    expect(not missing, f"no gradient comes back to {', '.join(missing)}.", "Are all three used?")
    return "the same outputs as torch's own attention, and its gradients flow"


# ---- 3.2


def check_rms_norm(reader: Reader) -> str:
    """Size, weight, eps, direction; and then the course's model with the reader's norms in it."""

    def made(width: int, eps: float) -> torch.nn.Module:
        norm = reader.call("RMSNorm", width, eps, show=f"RMSNorm({width}, eps={eps})")
        called = f"RMSNorm({width}, eps={eps})"
        expect(isinstance(norm, torch.nn.Module), f"{called} should be an nn.Module.", "class RMSNorm(nn.Module)")
        weight = dict(norm.named_parameters()).get("weight")
        line = f"{called} has no learned `weight`; what it learns: {[name for name, _ in norm.named_parameters()]}."
        expect(weight is not None, line, "nn.Parameter makes a tensor one that an optimizer finds.")
        line = (
            f"`weight` of RMSNorm({width}, eps={eps}) should start as {width} ones; it is {numbers(weight.detach())}."
        )
        expect(
            tuple(weight.shape) == (width,) and bool((weight == 1).all()), line, "A new norm should change no channel."
        )
        return norm

    def apply(norm: torch.nn.Module, x: Tensor, case: str) -> Tensor:
        found = reader.value(f"RMSNorm on {case}", norm, x.clone())
        expect_tensor(found, tuple(x.shape), f"RMSNorm on {case}")
        return found.detach()

    norm = made(2, 1e-6)
    hint = "Square, mean, root, in this order; and over which dimension?"
    for vector, right in (([3.0, 4.0], [0.849, 1.131]), ([3000.0, 4000.0], [0.849, 1.131]), ([5.0, 5.0], [1.0, 1.0])):
        found = apply(norm, torch.tensor([vector]), f"{vector}")
        line = f"{vector} should become {right}, yours becomes {numbers(found[0])}."
        expect(torch.allclose(found[0], torch.tensor(right), atol=1e-3), line, hint)
    square = torch.tensor([[1.0, 1.0], [10.0, 10.0]])
    found = apply(norm, square, f"{numbers(square)}")
    line = f"each of the vectors {numbers(square)} should become [1.0, 1.0]; yours are {numbers(found)}."
    expect(torch.allclose(found, torch.ones(2, 2), atol=1e-3), line, "Each token has a size of its own.")
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    found = apply(made(4, 1e-6), x, "a tensor of (2, 3, 4)")
    rms = found.square().mean(-1).sqrt()
    line = f"after it the root mean square of every vector should be 1; yours are {numbers(rms)}."
    expect(torch.allclose(rms, torch.ones(2, 3), atol=1e-3), line, hint)
    found = apply(made(2, 1.0), torch.tensor([[1.0, 1.0]]), "[1.0, 1.0] with eps=1.0")
    line = f"with eps=1.0, [1.0, 1.0] should become [0.707, 0.707], yours becomes {numbers(found[0])}."
    expect(
        torch.allclose(found, torch.full((1, 2), math.sqrt(0.5)), atol=1e-3),
        line,
        "Is eps added, and inside the root?",
    )
    expect(not apply(made(2, 1e-6), torch.zeros(1, 2), "[0.0, 0.0]").any(), "zeros should stay zeros.", "Look at eps.")
    norm = made(2, 1e-6)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 0.5]))
    found = apply(norm, torch.tensor([[1.0, 1.0]]), "[1.0, 1.0] with the weights 2.0 and 0.5")
    line = f"with the weights 2.0 and 0.5, [1.0, 1.0] should become [2.0, 0.5], yours becomes {numbers(found[0])}."
    expect(
        torch.allclose(found[0], torch.tensor([2.0, 0.5]), atol=1e-3), line, "Each channel is multiplied by its weight."
    )
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=50, context_length=16, n_layer=2, n_embd=32, n_head=4, n_kv_head=2)).eval()
    ids = torch.randint(50, (2, 9))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        right = model(ids)
        replaced = _replace_norms(model, made)
        found = reader.do("the course's model with your RMSNorm", model, ids)
    line = f"in the course's model the scores differ by up to {(found - right).abs().max():.3f} with your norm."
    expect(torch.allclose(found, right, atol=1e-3), line, "It also has to work on queries of (B, T, H, D).")
    return f"with your norm at all {replaced} places, the course's model computes the same scores"


def _replace_norms(model: GPT, made: Callable[[int, float], torch.nn.Module]) -> int:
    """Puts the reader's norm, with the weights of ours, at every place of a model. Returns how many there are."""
    places = [name for name, module in model.named_modules() if type(module).__name__ == "RMSNorm"]
    for name in places:
        parent, _, last = name.rpartition(".")
        old = model.get_submodule(name)
        new = made(len(old.weight), old.eps)
        new.weight.copy_(old.weight)
        setattr(model.get_submodule(parent), last, new)
    return len(places)


# ---- 3.3


def check_orthogonalize(reader: Reader) -> str:
    """Shape, zeros, lengths, directions, size; and then the course's own function."""
    generator = torch.Generator().manual_seed(1)

    def orthogonal(g: Tensor, case: str) -> Tensor:
        given = g.clone()
        found = reader.call("orthogonalize", given, show=f"orthogonalize({case})")
        expect_tensor(found, tuple(g.shape), f"orthogonalize({case})")
        expect(
            torch.equal(given, g),
            f"orthogonalize({case}) changes the matrix that it was given.",
            "`x = x / n`, not `/=`.",
        )
        return found

    for shape in ((4, 7), (7, 4), (5, 5)):
        case = f"a matrix of {shape}"
        g = torch.linalg.qr(torch.randn(max(shape), min(shape), generator=generator)).Q
        sizes = torch.linspace(1.0, 0.2, min(shape))  # the lengths of its directions
        turn = torch.linalg.qr(torch.randn(min(shape), min(shape), generator=generator)).Q
        g = (g * sizes) @ turn if shape[0] > shape[1] else turn @ (g * sizes).mT
        found = orthogonal(g, case)
        lengths = torch.linalg.svdvals(found)
        line = f"{case}, whose directions have lengths from 0.20 to 1.00, should get lengths of about 1; "
        line += f"they go from {lengths.min():.3g} to {lengths.max():.3g}."
        hint = "Is it divided by its norm first? How often is the polynomial applied, with which constants?"
        expect(lengths.min() > 0.6 and lengths.max() < 1.3, line, hint)
        u, _, v = torch.linalg.svd(g, full_matrices=False)
        inside = u.mT @ found @ v.mT  # a diagonal matrix, if the directions have stayed
        aside = (inside - inside.diagonal().diag()).abs().max()
        line = f"{case} should keep its directions; yours are turned, by up to {aside:.2f}."
        expect(aside < 1e-3, line, "The powers are those of matrices, not of each number alone.")
        larger = orthogonal(1000 * g, f"1000 times {case}")
        line = f"{case} and 1000 times as much should give the same; they differ by {(larger - found).abs().max():.2f}."
        expect(torch.allclose(larger, found, atol=1e-3), line, "By what is the matrix divided first?")
        away = (found - right_orthogonalize(g[None])[0]).abs().max()
        expect(away < 1e-3, f"{case} differs from the course's result by up to {away:.3f}.", hint)
    expect(
        not orthogonal(torch.zeros(3, 4), "zeros").any(), "a matrix of zeros should stay zeros.", "Look at the 1e-7."
    )
    one = reader.call("orthogonalize", g.clone(), 1, show="orthogonalize with steps=1")
    line = "with steps=1 it should do one step alone."
    expect(torch.allclose(one, right_orthogonalize(g[None], 1)[0], atol=1e-3), line, "Is `steps` used?")
    return "lengths of about 1 in the same directions, as in the course's optimizer"


def check_muon_step(reader: Reader) -> str:
    """Momentum, decay, direction, look ahead, scale; and then five steps of the course's optimizer."""
    generator = torch.Generator().manual_seed(2)

    def step(*matrices: Tensor, **options: float) -> tuple[Tensor, Tensor]:
        shown = ", ".join(["muon_step(weight", "gradient", "momentum", *(f"{k}={v}" for k, v in options.items())]) + ")"
        given = [m.clone() for m in matrices]
        found = reader.call("muon_step", *given, show=shown, **options)
        pair = isinstance(found, tuple | list) and len(found) == 2
        expect(
            pair, f"{shown} should give back two matrices, the weight and the momentum.", "`return weight, momentum`"
        )
        for name, tensor in zip(("weight", "momentum"), found, strict=True):
            expect_tensor(tensor, tuple(matrices[0].shape), f"the {name} of {shown}")
        for name, before, after in zip(("weight", "gradient", "momentum"), matrices, given, strict=True):
            expect(torch.equal(before, after), f"{shown} changes the {name} that it was given.", "Make new matrices.")
        return found

    weight, gradient, old = torch.randn(3, 4, 6, generator=generator)
    none = torch.zeros(4, 6)
    momentum = step(weight, gradient, none, lr=0.1)[1]
    share = (momentum / gradient).mean()
    line = f"from zeros, the momentum should become 0.05 times the gradient; yours is {share:.2f} times as large."
    expect(torch.allclose(momentum, 0.05 * gradient, atol=1e-5), line, "It is a running mean: what share is new?")
    momentum = step(weight, none, old, lr=0.1)[1]
    line = f"after a gradient of zeros, 0.95 of the momentum should be left; yours has {(momentum / old).mean():.2f}."
    expect(torch.allclose(momentum, 0.95 * old, atol=1e-5), line, "What does the momentum keep of its value?")
    found = step(weight, none, none, lr=0.1, weight_decay=0.5)[0]
    line = "with lr=0.1, weight_decay=0.5 and a gradient of zeros, 0.95 of the weight should be left; yours has "
    expect(torch.allclose(found, 0.95 * weight, atol=1e-5), f"{line}{(found / weight).mean():.3f}.", "Look at point 3.")
    found = step(weight, gradient, none, lr=0.1)[0] - weight
    line = "the step goes up the gradient, and should go down."
    expect((found * gradient).sum() < 0, line, "Is something added that should be subtracted?")
    for shape, right in (((4, 6), 1.0), ((6, 4), math.sqrt(1.5)), ((8, 2), 2.0)):
        w, g = torch.randn(2, *shape, generator=generator)
        moved = step(w, g, torch.zeros(shape), lr=0.1)[0] - w
        times = (moved.norm() / (0.1 * right_orthogonalize(g[None])[0].norm())).item()
        line = f"in a matrix of {shape} the step should be {right:.2f} times lr times the orthogonalized matrix; "
        expect(abs(times - right) < 0.02, f"{line}yours is {times:.2f} times.", "Look at point 4: rows, cols, lr.")
    tiny = 0.05 * old
    found = step(weight, gradient, tiny, lr=0.1)[0]
    new = 0.95 * tiny + 0.05 * gradient
    plain = weight - 0.1 * right_orthogonalize(new[None])[0]
    line = "the step follows the new momentum alone: the newest gradient isn't mixed in once more."
    expect(not torch.allclose(found, plain, atol=1e-4), line, "Look at point 2.")
    right = weight - 0.1 * right_orthogonalize((0.95 * new + 0.05 * gradient)[None])[0]
    line = f"with a momentum that isn't zero, the new weight is wrong by up to {(found - right).abs().max():.3f}."
    expect(torch.allclose(found, right, atol=1e-4), line, "Look at point 2: which momentum is mixed with the gradient?")
    theirs, ours, momentum = torch.nn.Parameter(weight.clone()), weight, none
    muon = Muon([theirs], lr=0.05, weight_decay=0.1)
    for _ in range(5):
        theirs.grad = theirs.detach() - gradient  # the slope of half the squared distance
        ours, momentum = step(ours, ours - gradient, momentum, lr=0.05, weight_decay=0.1)
        muon.step()
    line = f"after five steps the weight differs from that of the course's Muon by {(ours - theirs).abs().max():.3f}."
    expect(torch.allclose(ours, theirs, atol=1e-3), line, "In which order do points 3 and 4 come?")
    return "five steps end where the course's own Muon does"
